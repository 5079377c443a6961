//! A URL for people: without secrets.

/// A URL for people to read, with all that may be secret in it hidden: the password, and the values of parameters
/// whose names sound like one. Where it can't tell, it hides too much.
///
/// ```
/// use taskwright::backend::connect::masked;
///
/// assert_eq!(masked("postgres://ada:secret@db.example/jobs"), "postgres://ada:***@db.example/jobs");
/// assert_eq!(masked("sqs://queue?secret_key=abc&region=eu"), "sqs://queue?secret_key=***&region=eu");
/// ```
#[must_use]
pub fn masked(url: &str) -> String {
    let url = without_password(url);
    let Some((address, parameters)) = url.split_once('?') else { return url };
    let parameters: Vec<_> = parameters.split('&').map(masked_parameter).collect();
    format!("{address}?{}", parameters.join("&"))
}

/// Hides what stands between the first colon and the last `@`: a password that nobody escaped may hold both, and
/// everything else that ends a part of a URL.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |end| end + "://".len()));
    let masked = rest.rsplit_once('@').and_then(|(credentials, place)| Some((credentials.split_once(':')?.0, place)));
    match masked {
        Some((user, place)) => format!("{scheme}{user}:***@{place}"),
        None => url.to_owned(),
    }
}

fn masked_parameter(parameter: &str) -> String {
    const SECRETS: [&str; 5] = ["pass", "secret", "token", "key", "pwd"];
    match parameter.split_once('=') {
        Some((name, _)) if SECRETS.iter().any(|word| name.to_ascii_lowercase().contains(word)) => format!("{name}=***"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        let cases = [
            ("redis://:hunter2@host", "redis://:***@host"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("pg://a:hun@ter:2@host/x?password=hunter2", "pg://a:***@host/x?password=***"),
            ("nats://host?Auth_Token=hunter2&a=b", "nats://host?Auth_Token=***&a=b"),
            ("sqlite:/var/lib/jobs.db?synchronous=normal", "sqlite:/var/lib/jobs.db?synchronous=normal"),
            ("pg://a:hun?ter2@host", "pg://a:***@host"),
            ("pg://a:hun/ter2@host", "pg://a:***@host"),
        ];
        for (url, shown) in cases {
            assert_eq!(masked(url), shown);
        }
    }
}
