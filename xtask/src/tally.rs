//! Counting tests by what the runners print at their end.

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds what one printed line reports: the closing line of libtest, of a documentation test, or of nextest.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let Some(counts) = closing_counts(line.trim()) else { return };
        for part in counts.split([',', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match kind {
                "passed" => self.passed += number,
                // nextest tells these apart from `failed`: `1 timed out`, `1 exec failed`.
                "failed" | "timed" | "exec" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                // What libtest filtered out was not asked for, and its time is no count.
                _ => {}
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The part of a closing line that lists numbers of tests.
fn closing_counts(line: &str) -> Option<&str> {
    if let Some(rest) = line.strip_prefix("test result: ") {
        return rest.split_once(". ").map(|(_, counts)| counts);
    }
    let (_, rest) = line.strip_prefix("Summary [")?.split_once("] ")?;
    let (run, counts) = rest.split_once(": ")?;
    run.ends_with(" run").then_some(counts)
}

/// The line without the escape sequences that colour it.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], passed: u64, failed: u64, skipped: u64) {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed, failed, skipped });
    }

    #[test]
    fn closing_lines_of_libtest_add_up() {
        let first = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s\n";
        let second =
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        check(&[first, second], 15, 2, 1);
    }

    #[test]
    fn nextest_counts_every_kind_of_failure() {
        check(
            &["     Summary [   0.152s] 5 tests run: 1 passed, 2 failed, 1 timed out, 1 exec failed, 3 skipped"],
            1,
            4,
            3,
        );
        check(&["     Summary [   0.008s] 1 test run: 1 passed (1 slow), 0 skipped"], 1, 0, 0);
        check(&["     Summary [   0.008s] 2/9 tests run: 1 passed, 1 failed, 0 skipped"], 1, 1, 0);
    }

    #[test]
    fn colours_do_not_hide_a_closing_line() {
        check(
            &[
                "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] \u{1b}[1m4\u{1b}[0m tests run: \u{1b}[1m4\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m",
            ],
            4,
            0,
            0,
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        check(&["running 3 tests", "test a ... ok", "3 passed, 1 failed", "Summary [nothing"], 0, 0, 0);
    }
}
