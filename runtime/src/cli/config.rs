//! `config`: what is in force, and where each value came from.

use serde::Serialize;

use super::desk::Desk;
use super::table::Columns;
use super::trouble::{Exit, Trouble};
use crate::settings::{SETTINGS, Settings};

/// A setting as `--json` shows it.
#[derive(Serialize)]
struct SettingView {
    setting: &'static str,
    value: String,
    origin: String,
    variable: String,
}

pub(crate) fn run(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let views: Vec<SettingView> = SETTINGS.iter().map(|setting| view(setting.key, &desk.settings)).collect();
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "settings": views }))?;
        return Ok(Exit::Ok);
    }
    let mut columns = Columns::new(["setting", "value", "origin"]);
    for view in views {
        let value = if view.value.is_empty() { "-".to_owned() } else { view.value };
        columns.row([view.setting.to_owned(), value, view.origin]);
    }
    desk.output.line(columns.text())?;
    Ok(Exit::Ok)
}

fn view(key: &'static str, settings: &Settings) -> SettingView {
    let variable = SETTINGS.iter().find(|setting| setting.key == key).map(crate::settings::Setting::variable);
    SettingView {
        setting: key,
        value: settings.get(key).unwrap_or_default(),
        origin: settings.origin(key).to_owned(),
        variable: variable.unwrap_or_default(),
    }
}
