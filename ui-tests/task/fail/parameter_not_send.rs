use taskwright::prelude::*;

#[derive(Serialize, Deserialize)]
struct Mail(std::rc::Rc<str>);

#[task]
fn deliver(mail: Mail) {
    let _ = mail;
}

fn main() {}
