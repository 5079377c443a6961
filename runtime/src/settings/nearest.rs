//! What somebody may have meant.

/// The candidate that is nearest to what was written, if one is near enough to be a slip.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let allowed = (written.chars().count() / 3).max(1);
    let ends_alike = |candidate: &str| {
        // `send_receipt` for `shop::send_receipt`, `log` for `log.level`.
        candidate.rsplit([':', '.']).next() == Some(&*written) || candidate.split([':', '.']).next() == Some(&*written)
    };
    let distances = candidates.into_iter().map(|candidate| {
        let lower = candidate.to_lowercase();
        let last = lower.rsplit("::").next().unwrap_or(&lower);
        let away = distance(&written, &lower).min(distance(&written, last));
        (if ends_alike(&lower) { 0 } else { away }, candidate)
    });
    distances.filter(|(away, _)| *away <= allowed).min_by_key(|(away, _)| *away).map(|(_, candidate)| candidate)
}

/// `; did you mean ..?`, or nothing.
pub(crate) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// How many letters to add, drop, change or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, nearest};

    #[test]
    fn a_slip_finds_what_was_meant() {
        let tasks = ["shop::send_receipt", "shop::refund", "mail.digest"];
        assert_eq!(nearest("shop::send_reciept", tasks), Some("shop::send_receipt"));
        assert_eq!(nearest("send_receipt", tasks), Some("shop::send_receipt"));
        assert_eq!(nearest("digest", tasks), Some("mail.digest"));
        assert_eq!(nearest("Refnud", tasks), Some("shop::refund"));
    }

    #[test]
    fn something_else_finds_nothing() {
        assert_eq!(nearest("invoice", ["shop::send_receipt", "shop::refund"]), None);
        assert_eq!(did_you_mean("zebra", ["default"]), "");
    }
}
