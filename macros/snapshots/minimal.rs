async fn tick() {}
/// The task that runs [`tick()`].
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
    impl __taskwright::serde::Serialize for Tick {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(serializer, "Tick", &[])
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for Tick {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            __taskwright::read_fields(deserializer, "Tick", &[], &mut [])?;
            __taskwright::Result::Ok(Self {})
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
            transaction: __taskwright::None,
            execution: __taskwright::Execution::Async,
            docs: "",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::TaskFuture<Self::Output> {
            __taskwright::Box::pin(async move { __taskwright::finish(tick().await) })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Tick > ()
    }
};
