const _: () = {
    use ::taskwright::private as __taskwright;
    impl __taskwright::Task for Greet {
        type Output = <Self as __taskwright::Run>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(__taskwright::env!("CARGO_PKG_NAME"), "::Greet"),
            aliases: &[],
            options: __taskwright::Options {
                queue: __taskwright::Some("mail"),
                unique: __taskwright::Some(__taskwright::UniqueRule::of("greet-{name}")),
                ..__taskwright::Options::NONE
            },
            parameters: &[
                __taskwright::Parameter {
                    name: "name",
                    type_name: "String",
                },
                __taskwright::Parameter {
                    name: "often",
                    type_name: "u32",
                },
            ],
            state: &[],
            transaction: __taskwright::None,
            execution: __taskwright::Execution::Async,
            docs: "Greets somebody.",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        fn unique_key(&self) -> __taskwright::Option<__taskwright::String> {
            __taskwright::Some(
                __taskwright::format!("greet-{0}", __taskwright::key_part(& self.name)),
            )
        }
        fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::TaskFuture<Self::Output> {
            __taskwright::run_hooked(self, ctx)
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Greet > ()
    }
};
