async fn tick() {}
/// The task that runs [`tick()`].
#[derive(
    ::taskwright::private::serde::Serialize,
    ::taskwright::private::serde::Deserialize
)]
#[serde(crate = "::taskwright::private::serde")]
struct Tick {}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Tick {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        fn new() -> Self {
            Self {}
        }
    }
    impl __taskwright::Task for Tick {
        type Output = <() as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(__taskwright::env!("CARGO_PKG_NAME"), "::tick"),
            aliases: &[],
            options: __taskwright::Options::NONE,
            parameters: &[],
            state: &[],
            execution: __taskwright::Execution::Async,
            docs: "",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        async fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::Result<Self::Output, __taskwright::TaskError> {
            __taskwright::finish(tick().await)
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Tick > ()
    }
};
