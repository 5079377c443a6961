fn resize(path: PathBuf, pool: &Pool, ctx: &Context) -> Result<Size, ImageError> {
    pool.resize(path, ctx)
}
/// The task that runs [`resize()`].
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
    impl __taskwright::serde::Serialize for Resize {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(serializer, "Resize", &[("path", &self.path)])
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for Resize {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            let mut path = __taskwright::None;
            __taskwright::read_fields(
                deserializer,
                "Resize",
                &["path"],
                &mut [&mut path],
            )?;
            __taskwright::Result::Ok(Self {
                path: __taskwright::filled_field(path)?,
            })
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
            transaction: __taskwright::None,
            execution: __taskwright::Execution::Blocking,
            docs: "",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::TaskFuture<Self::Output> {
            __taskwright::blocking(
                ctx,
                move |ctx| __taskwright::finish(
                    resize(self.path, __taskwright::state::<Pool>(ctx, "pool")?, ctx),
                ),
            )
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Resize > ()
    }
};
