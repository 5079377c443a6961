pub async fn import(
    url: Url,
    database: &Database,
    client: Client,
    cache: Arc<Cache>,
    ctx: &Context,
    own: app::TaskContext,
) -> anyhow::Result<u64> {
    Ok(0)
}
/// The task that runs [`import()`].
pub struct Import {
    /// The parameter `url` of [`import()`].
    pub url: Url,
}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Import {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        pub fn new(url: impl __taskwright::Into<Url>) -> Self {
            Self {
                url: __taskwright::Into::into(url),
            }
        }
    }
    impl __taskwright::serde::Serialize for Import {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(serializer, "Import", &[("url", &self.url)])
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for Import {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            let mut url = __taskwright::None;
            __taskwright::read_fields(
                deserializer,
                "Import",
                &["url"],
                &mut [&mut url],
            )?;
            __taskwright::Result::Ok(Self {
                url: __taskwright::filled_field(url)?,
            })
        }
    }
    impl __taskwright::Task for Import {
        type Output = <anyhow::Result<u64> as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(
                __taskwright::env!("CARGO_PKG_NAME"), "::import"
            ),
            aliases: &[],
            options: __taskwright::Options::NONE,
            parameters: &[__taskwright::Parameter::of::<Url>("url", "Url")],
            state: &[
                __taskwright::StateNeed::of::<Database>("database"),
                __taskwright::StateNeed::of::<Client>("client"),
                __taskwright::StateNeed::of::<Arc<Cache>>("cache"),
            ],
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
                __taskwright::finish(
                    import(
                            self.url,
                            __taskwright::state::<Database>(&ctx, "database")?,
                            __taskwright::state_clone::<Client>(&ctx, "client")?,
                            __taskwright::state_clone::<Arc<Cache>>(&ctx, "cache")?,
                            &ctx,
                            __taskwright::Clone::clone(&ctx),
                        )
                        .await,
                )
            })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Import > ()
    }
};
