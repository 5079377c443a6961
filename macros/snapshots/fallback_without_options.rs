async fn send(to: String) {}
/// The task that runs [`send()`].
struct Send {
    /// The parameter `to` of [`send()`].
    to: String,
}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Send {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        fn new(to: impl __taskwright::Into<String>) -> Self {
            Self {
                to: __taskwright::Into::into(to),
            }
        }
    }
    impl __taskwright::serde::Serialize for Send {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(serializer, "Send", &[("to", &self.to)])
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for Send {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            let mut to = __taskwright::None;
            __taskwright::read_fields(deserializer, "Send", &["to"], &mut [&mut to])?;
            __taskwright::Result::Ok(Self {
                to: __taskwright::filled_field(to)?,
            })
        }
    }
    impl __taskwright::Task for Send {
        type Output = <() as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(__taskwright::env!("CARGO_PKG_NAME"), "::send"),
            aliases: &[],
            options: __taskwright::Options::NONE,
            parameters: &[__taskwright::Parameter::of::<String>("to", "String")],
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
            __taskwright::Box::pin(async move {
                __taskwright::finish(send(self.to).await)
            })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Send > ()
    }
};
::core::compile_error! {
    "`soon` is not a duration; write a number and a unit: `250ms`, `30s`, `10m`, `2h`, `7d`, or a sum like `1h30m`"
}
::core::compile_error! {
    "unknown option `color`; the options are `name`, `aliases`, `queue`, `priority`, `max_attempts`, `backoff`, `timeout`, `expires`, `keep_result`, `unique`, `limit`, `rate`, `isolate`, `tags`, `crate`, `struct`, `retry_if`"
}
::core::compile_error! {
    "`no spaces, please` is not a name for a queue or task; use 1 to 128 characters of A-Z a-z 0-9 . _ : -"
}
