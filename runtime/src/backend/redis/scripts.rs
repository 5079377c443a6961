//! The scripts: one for each transition, each bounded, run by its hash.

use std::sync::LazyLock;

use redis::Script;

/// What most scripts begin with.
const COMMON: &str =
    concat!(include_str!("lua/base.lua"), include_str!("lua/common.lua"), include_str!("lua/limits.lua"));

/// Stores a job about which there is nothing to decide. What the others begin with takes longer than the rest of it.
pub(super) static PUSH_ALONE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/base.lua"), include_str!("lua/push_alone.lua"))));

fn script(code: &str) -> Script {
    Script::new(&format!("{COMMON}{code}"))
}

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| script(include_str!(concat!("lua/", $file, ".lua"))));
    )*};
}

scripts! {
    PUSH: "push",
    HOLDERS: "holders",
    CLAIM: "claim",
    TAKE: "take",
    EXTEND: "extend",
    SETTLE: "settle",
    CANCEL: "cancel",
    LAPSED: "lapsed",
    MOVE: "move",
    LOOK: "look",
    PAGE: "page",
    QUEUES: "queues",
    PAUSE: "pause",
    PRUNE: "prune",
    KEEP: "keep",
    PROBE: "probe",
    ALLOW: "allow",
    STANDING: "standing",
    CAMPAIGN: "campaign",
    RESIGN: "resign",
}
