//! Links between the pages of the repository.

use std::path::Path;

use crate::tree::{self, File, files_ending};

#[test]
fn every_relative_link_leads_somewhere() {
    let broken: Vec<String> = files_ending(".md").iter().flat_map(broken_links).collect();
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

fn broken_links(page: &File) -> Vec<String> {
    let links = targets(&page.text).into_iter().filter(|target| is_relative(target));
    links.filter(|target| !leads_somewhere(page, target)).map(|target| format!("{}: {target}", page.path)).collect()
}

/// Whether the link is to a file or a heading: not to the web, and not to a Rust item, which rustdoc checks.
fn is_relative(target: &str) -> bool {
    let is_file_or_heading = target.contains(['/', '.', '#']);
    is_file_or_heading && !target.contains("::") && !target.contains("://") && !target.starts_with("mailto:")
}

fn leads_somewhere(page: &File, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(&page.path).parent().unwrap();
    let file = if file.is_empty() { tree::root().join(&page.path) } else { tree::root().join(folder).join(file) };
    if heading.is_empty() {
        return file.exists();
    }
    std::fs::read_to_string(file).is_ok_and(|text| headings(&text).any(|anchor| anchor == heading))
}

/// What the links of a page point at; code is no link.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in outside_fences(text) {
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            targets.extend(rest.split([')', ' ']).next().map(str::to_owned));
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            targets.push(target.trim().to_owned());
        }
    }
    targets
}

fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The anchors that a page's headings get: lower case, blanks as hyphens, other punctuation left out.
fn headings(text: &str) -> impl Iterator<Item = String> {
    outside_fences(text).filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn the_search_tells_links_from_code() {
    let page = "See [a](b.md), `[c](d.md)` and [e](#the-end).\n```\n[f](g.md)\n```\n[h]: i/j.md\n## The `end`!\n";
    assert_eq!(targets(page), ["b.md", "#the-end", "i/j.md"]);
    assert_eq!(headings(page).collect::<Vec<_>>(), ["the-end"]);
}
