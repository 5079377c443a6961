//! Each example prints what its own last lines say.

use std::fs;

use crate::programs::{all, example, printed, workspace};

/// One test for each example, of the same name.
macro_rules! examples {
    ($($name:ident),* $(,)?) => {
        mod prints_what_it_says {
            $(
                #[test]
                fn $name() {
                    super::check(stringify!($name));
                }
            )*
        }

        const CHECKED: &[&str] = &[$(stringify!($name)),*];
    };
}

examples!(
    blocking,
    cancellation,
    dead_letters,
    derive,
    embedded,
    isolation,
    limits,
    middleware,
    retries,
    state,
    transactional,
    unique
);

/// Examples with tests of their own.
const OTHERS: &[&str] = &["program", "quickstart"];

fn check(name: &str) {
    assert_eq!(printed(&mut example(name)), said_output(name));
}

/// The comment below `// Output:`, at the end of an example.
fn said_output(name: &str) -> String {
    let source = fs::read_to_string(workspace().join("examples").join(name).with_extension("rs")).unwrap();
    let (_, output) = source.split_once("\n// Output:\n").unwrap_or_else(|| panic!("{name}.rs says no output"));
    let lines = output.lines().map(|line| line.strip_prefix("//").unwrap_or_else(|| panic!("not a comment: {line}")));
    lines.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect()
}

#[test]
fn no_example_goes_unchecked() {
    let mut checked = [CHECKED, OTHERS].concat();
    checked.sort_unstable();
    assert_eq!(all(), checked);
}

#[test]
fn the_program_works_off_what_it_dispatched() {
    let folder = tempfile::tempdir().unwrap();
    let mut dispatch = example("program");
    printed(dispatch.current_dir(&folder).args(["dispatch", "greet", r#"{"name": "ada"}"#]));
    let mut worker = example("program");
    assert_eq!(printed(worker.current_dir(&folder).args(["worker", "--drain"])), said_output("program"));
}
