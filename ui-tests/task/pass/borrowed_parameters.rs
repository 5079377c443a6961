//! Borrowed payload parameters become owned fields, and are lent to the function.

use std::path::Path;

use taskwright::prelude::*;

#[derive(Clone, Serialize, Deserialize)]
struct Mail {
    subject: String,
}

#[task(unique = "{to}")]
async fn notify(to: &str, ids: &[u64], path: &Path, retries: &u8, mail: &Mail, mut rest: Vec<Mail>) -> TaskResult {
    rest.push(mail.clone());
    let _ = (to.len(), ids.first(), path.exists(), *retries, rest);
    Ok(())
}

#[task]
fn shrink(path: &Path) -> std::io::Result<u64> {
    Ok(path.metadata()?.len())
}

fn main() {
    let task = Notify::new("ada", [1, 2], "pictures/a", 3, Mail { subject: "hello".into() }, Vec::new());
    let _owned: &String = &task.to;
    assert_eq!(task.ids, [1, 2]);
    assert_eq!(task.mail.subject, "hello");
    assert_eq!(Task::unique_key(&task).as_deref(), Some("ada"));
    let types: Vec<&str> = Notify::DEFINITION.parameters.iter().map(|parameter| parameter.type_name).collect();
    assert_eq!(types, ["&str", "&[u64]", "&Path", "&u8", "&Mail", "Vec<Mail>"]);
    assert_eq!(Shrink::new("pictures/a").path, Path::new("pictures/a"));
}
