fn resize(path: PathBuf, pool: &Pool, ctx: &Context) -> Result<Size, ImageError> {
    pool.resize(path, ctx)
}
/// The task that runs [`resize()`].
#[derive(
    ::taskwright::private::serde::Serialize,
    ::taskwright::private::serde::Deserialize
)]
#[serde(crate = "::taskwright::private::serde")]
struct Resize {
    /// The parameter `path` of [`resize()`].
    path: PathBuf,
}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Resize {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        fn new(path: impl __taskwright::Into<PathBuf>) -> Self {
            Self {
                path: __taskwright::Into::into(path),
            }
        }
    }
    impl __taskwright::Task for Resize {
        type Output = <Result<Size, ImageError> as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(
                __taskwright::env!("CARGO_PKG_NAME"), "::resize"
            ),
            aliases: &[],
            options: __taskwright::Options::NONE,
            parameters: &[__taskwright::Parameter::of::<PathBuf>("path", "PathBuf")],
            state: &[__taskwright::StateNeed::of::<Pool>("pool")],
            execution: __taskwright::Execution::Blocking,
            docs: "",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        async fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::Result<Self::Output, __taskwright::TaskError> {
            __taskwright::blocking(
                    ctx,
                    move |ctx| __taskwright::finish(
                        resize(self.path, __taskwright::state::<Pool>(ctx, "pool")?, ctx),
                    ),
                )
                .await
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Resize > ()
    }
};
