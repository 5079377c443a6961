/// Mails a receipt.
///
/// Once for each order.
#[cfg(feature = "mail")]
#[tracing::instrument]
pub(crate) async fn send_receipt(
    order: u64,
    customer: Uuid,
    kind: Kind,
) -> Result<(), MailError> {
    mail(order, customer, kind).await
}
/// Mails a receipt.
///
/// Once for each order.
#[cfg(feature = "mail")]
pub(crate) struct ReceiptTask {
    /// The parameter `order` of [`send_receipt()`].
    pub(crate) order: u64,
    /// The parameter `customer` of [`send_receipt()`].
    pub(crate) customer: Uuid,
    /// The parameter `kind` of [`send_receipt()`].
    pub(crate) kind: Kind,
}
#[cfg(feature = "mail")]
const _: () = {
    use ::queue::taskwright::private as __taskwright;
    impl ReceiptTask {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        pub(crate) fn new(
            order: u64,
            customer: impl __taskwright::Into<Uuid>,
            kind: impl __taskwright::Into<Kind>,
        ) -> Self {
            Self {
                order,
                customer: __taskwright::Into::into(customer),
                kind: __taskwright::Into::into(kind),
            }
        }
    }
    impl __taskwright::serde::Serialize for ReceiptTask {
        fn serialize<S: __taskwright::serde::Serializer>(
            &self,
            serializer: S,
        ) -> __taskwright::Result<S::Ok, S::Error> {
            __taskwright::write_fields(
                serializer,
                "ReceiptTask",
                &[
                    ("order", &self.order),
                    ("customer", &self.customer),
                    ("kind", &self.kind),
                ],
            )
        }
    }
    impl<'de> __taskwright::serde::Deserialize<'de> for ReceiptTask {
        fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
            deserializer: D,
        ) -> __taskwright::Result<Self, D::Error> {
            let mut order = __taskwright::None;
            let mut customer = __taskwright::None;
            let mut kind = __taskwright::None;
            __taskwright::read_fields(
                deserializer,
                "ReceiptTask",
                &["order", "customer", "kind"],
                &mut [&mut order, &mut customer, &mut kind],
            )?;
            __taskwright::Result::Ok(Self {
                order: __taskwright::filled_field(order)?,
                customer: __taskwright::filled_field(customer)?,
                kind: __taskwright::filled_field(kind)?,
            })
        }
    }
    impl __taskwright::Task for ReceiptTask {
        type Output = <Result<(), MailError> as __taskwright::TaskReturn>::Output;
        const DEFINITION: &'static __taskwright::Definition = &__taskwright::Definition {
            name: "mail.receipt",
            aliases: &["mail.send_receipt"],
            options: __taskwright::Options {
                queue: __taskwright::Some("mail"),
                priority: __taskwright::Some(-5),
                max_attempts: __taskwright::Some(8),
                backoff: __taskwright::Some(
                    __taskwright::Backoff::exponential(
                        __taskwright::Duration::new(2, 0),
                        __taskwright::Duration::new(600, 0),
                    ),
                ),
                timeout: __taskwright::Some(__taskwright::Duration::new(90, 0)),
                expires: __taskwright::Some(__taskwright::Duration::new(0, 250000000)),
                keep_result: __taskwright::Some(__taskwright::Duration::new(604800, 0)),
                unique: __taskwright::Some(
                    __taskwright::UniqueRule::of("receipt-{order}-{kind}"),
                ),
                limit: __taskwright::Some(__taskwright::LimitRule {
                    key: __taskwright::Some("customer-{customer}"),
                    max: 5,
                    weight: 1,
                }),
                rate: __taskwright::Some(__taskwright::RateRule {
                    key: __taskwright::Some("all"),
                    count: 100,
                    per: __taskwright::Duration::new(60, 0),
                    weight: 1,
                }),
                tags: &["billing", "mail"],
                ..__taskwright::Options::NONE
            },
            parameters: &[
                __taskwright::Parameter::of::<u64>("order", "u64"),
                __taskwright::Parameter::of::<Uuid>("customer", "Uuid"),
                __taskwright::Parameter::of::<Kind>("kind", "Kind"),
            ],
            state: &[],
            transaction: __taskwright::None,
            execution: __taskwright::Execution::Process,
            docs: "Mails a receipt.\n\nOnce for each order.",
            file: __taskwright::file!(),
            line: __taskwright::line!(),
        };
        fn unique_key(&self) -> __taskwright::Option<__taskwright::String> {
            __taskwright::Some(
                __taskwright::format!(
                    "receipt-{0}-{1}", __taskwright::key_part(& self.order),
                    __taskwright::key_part(& self.kind)
                ),
            )
        }
        fn limit_key(&self) -> __taskwright::Option<__taskwright::String> {
            __taskwright::Some(
                __taskwright::format!(
                    "customer-{0}", __taskwright::key_part(& self.customer)
                ),
            )
        }
        fn rate_key(&self) -> __taskwright::Option<__taskwright::String> {
            __taskwright::Some(__taskwright::format!("all"))
        }
        fn run(
            self,
            ctx: __taskwright::Context,
        ) -> __taskwright::TaskFuture<Self::Output> {
            __taskwright::Box::pin(async move {
                __taskwright::finish_if(
                    send_receipt(self.order, self.customer, self.kind).await,
                    MailError::is_transient,
                )
            })
        }
    }
    __taskwright::inventory::submit! {
        __taskwright::Registration::of:: < ReceiptTask > ()
    }
};
