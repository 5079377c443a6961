async fn charge(
    order: u64,
    tx: &mut Transaction<'_, Postgres>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE orders SET paid = true WHERE id = $1")
        .bind(order)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
/// The task that runs [`charge()`].
struct Charge {
    /// The parameter `order` of [`charge()`].
    order: u64,
}
const _: () = {
    use ::taskwright::private as __taskwright;
    impl Charge {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        fn new(order: u64) -> Self {
            Self { order }
        }
    }
    impl __taskwright::serde::Serialize for Charge {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(serializer, "Charge", &[("order", &self.order)])
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for Charge {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            let mut order = __taskwright::None;
            __taskwright::read_fields(
                deserializer,
                "Charge",
                &["order"],
                &mut [&mut order],
            )?;
            __taskwright::Result::Ok(Self {
                order: __taskwright::filled_field(order)?,
            })
        }
    }
    impl __taskwright::Task for Charge {
        type Output = <Result<(), sqlx::Error> as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: __taskwright::concat!(
                __taskwright::env!("CARGO_PKG_NAME"), "::charge"
            ),
            aliases: &[],
            options: __taskwright::Options::NONE,
            parameters: &[__taskwright::Parameter::of::<u64>("order", "u64")],
            state: &[],
            transaction: __taskwright::Some(
                __taskwright::TransactionNeed::of::<Transaction<'_, Postgres>>("tx"),
            ),
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
                let mut transaction = __taskwright::begin(&ctx).await?;
                __taskwright::finish(
                    charge(
                            self.order,
                            __taskwright::transaction::<
                                Transaction<'_, Postgres>,
                            >(&mut transaction, "tx")?,
                        )
                        .await,
                )
            })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < Charge > ()
    }
};
