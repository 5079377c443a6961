async fn notify(to: &str, r#type: &[u64], mut retries: &u8, mail: &Mail) -> TaskResult {
    Ok(())
}
/// The task that runs [`notify()`].
#[derive(
    ::taskwright::private::serde::Serialize,
    ::taskwright::private::serde::Deserialize
)]
#[serde(crate = "::taskwright::private::serde")]
struct Notify {
    /// Who is told.
    to: <str as ::taskwright::private::ToOwned>::Owned,
    /// The parameter `type` of [`notify()`].
    #[serde(default, rename = "ids")]
    r#type: <[u64] as ::taskwright::private::ToOwned>::Owned,
    /// The parameter `retries` of [`notify()`].
    retries: u8,
    /// The parameter `mail` of [`notify()`].
    mail: <Mail as ::taskwright::private::ToOwned>::Owned,
}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Notify {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        fn new(
            to: impl __taskwright::Into<<str as __taskwright::ToOwned>::Owned>,
            r#type: impl __taskwright::Into<<[u64] as __taskwright::ToOwned>::Owned>,
            retries: u8,
            mail: impl __taskwright::Into<<Mail as __taskwright::ToOwned>::Owned>,
        ) -> Self {
            Self {
                to: __taskwright::Into::into(to),
                r#type: __taskwright::Into::into(r#type),
                retries,
                mail: __taskwright::Into::into(mail),
            }
        }
    }
    impl __taskwright::Task for Notify {
        type Output = <TaskResult as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(
                __taskwright::env!("CARGO_PKG_NAME"), "::notify"
            ),
            aliases: &[],
            options: __taskwright::Options {
                unique: __taskwright::Some(__taskwright::UniqueRule::of("{to}/{type}")),
                ..__taskwright::Options::NONE
            },
            parameters: &[
                __taskwright::Parameter::of::<
                    <str as __taskwright::ToOwned>::Owned,
                >("to", "&str"),
                __taskwright::Parameter {
                    name: "ids",
                    type_name: "&[u64]",
                },
                __taskwright::Parameter::of::<u8>("retries", "&u8"),
                __taskwright::Parameter::of::<
                    <Mail as __taskwright::ToOwned>::Owned,
                >("mail", "&Mail"),
            ],
            state: &[],
            transaction: __taskwright::None,
            execution: __taskwright::Execution::Async,
            docs: "",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        fn unique_key(&self) -> __taskwright::Option<__taskwright::String> {
            __taskwright::Some(
                __taskwright::format!(
                    "{0}/{1}", __taskwright::key_part(& self.to),
                    __taskwright::key_part(& self.r#type)
                ),
            )
        }
        fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::TaskFuture<Self::Output> {
            __taskwright::Box::pin(async move {
                __taskwright::finish(
                    notify(
                            __taskwright::lend::<str>(&self.to),
                            __taskwright::lend::<[u64]>(&self.r#type),
                            &self.retries,
                            __taskwright::lend::<Mail>(&self.mail),
                        )
                        .await,
                )
            })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Notify > ()
    }
};
