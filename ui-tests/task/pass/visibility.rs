//! The struct is seen where the function is.

mod outer {
    pub mod tasks {
        use taskwright::prelude::*;

        #[task]
        pub async fn everywhere(pub_field: u8) {
            let _ = pub_field;
        }

        #[task]
        pub(crate) async fn in_the_crate(field: u8) {
            let _ = field;
        }

        #[task]
        pub(in crate::outer) async fn in_outer(field: u8) {
            let _ = field;
        }

        #[task]
        async fn here(field: u8) {
            let _ = field;
        }

        pub fn check() {
            assert_eq!(Here { field: 1 }.field, Here::new(1).field);
        }
    }

    pub fn check() {
        assert_eq!(tasks::InOuter { field: 1 }.field, tasks::InOuter::new(1).field);
    }
}

fn main() {
    outer::tasks::check();
    outer::check();
    assert_eq!(outer::tasks::InTheCrate { field: 1 }.field, 1);
    assert_eq!(outer::tasks::Everywhere { pub_field: 1 }.pub_field, 1);
}
