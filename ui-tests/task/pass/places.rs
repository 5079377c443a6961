//! Tasks in functions, in other macros, and of one name in two modules.

use taskwright::prelude::*;

macro_rules! tasks {
    ($($name:ident($parameter:ident: $ty:ty)),*) => {
        $(
            #[task]
            async fn $name($parameter: $ty) {
                let _ = $parameter;
            }
        )*
    };
}

tasks!(first(number: u8), second(text: String));

mod one {
    #[taskwright::task]
    pub async fn same() {}
}

mod two {
    #[taskwright::task(name = "two.same")]
    pub async fn same() {}
}

fn main() {
    #[task]
    async fn inside(number: u8) {
        let _ = number;
    }

    assert_eq!(Inside::new(1).number, First::new(1).number);
    assert_eq!(Second::new("text").text, "text");
    assert_ne!(one::Same::DEFINITION.name, two::Same::DEFINITION.name);
    let linked = taskwright::registry::Registry::linked().unwrap();
    assert_eq!(linked.iter().count(), 5);
}
