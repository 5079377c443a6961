//! Options in URLs.

use crate::error::{Error, Result};

/// The options after a question mark: `name=value&name=value`.
pub(super) fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let given = text.split('&').filter(|option| !option.is_empty());
    given.map(|option| option.split_once('=').unwrap_or((option, "")))
}

/// `%3F` and the like, for characters that mean something in a URL.
pub(super) fn decode_percent(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let code = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &others[2..];
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::invalid(format!("`{text}` is not UTF-8 once its percent signs are decoded")))
}
