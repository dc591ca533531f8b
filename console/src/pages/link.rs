//! Addresses within the console, and lists that have several pages.

use std::fmt;

use url::form_urlencoded::Serializer;

/// An address: its parts are encoded, empty questions are left out.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    path: String,
    query: Vec<(&'static str, String)>,
}

impl Link {
    pub(crate) fn to(path: &str) -> Self {
        Self { path: path.to_owned(), query: Vec::new() }
    }

    /// One level below.
    pub(crate) fn part(mut self, part: &str) -> Self {
        self.path.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
                self.path.push(char::from(byte));
            } else {
                self.path.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }

    /// A file below, with the same questions.
    pub(crate) fn below(mut self, file: &str) -> Self {
        self.path.push('/');
        self.path.push_str(file);
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.query.push((name, value.to_owned()));
        }
        self
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if !self.query.is_empty() {
            let mut query = Serializer::new(String::new());
            write!(f, "?{}", query.extend_pairs(&self.query).finish())?;
        }
        Ok(())
    }
}

/// Where one stands in a list.
#[derive(Debug)]
pub(crate) struct Pages {
    all: usize,
    size: usize,
    /// From 1.
    page: usize,
    link: Link,
}

impl Pages {
    /// A list of so many, `size` on a page, at a page that was asked for: beyond the last it is the last.
    pub(crate) fn new(all: usize, size: usize, asked: usize, link: &Link) -> Self {
        let last = all.div_ceil(size).max(1);
        Self { all, size, page: asked.clamp(1, last), link: link.clone() }
    }

    /// How many stand before a page that is asked for, as long as nobody knows how many there are.
    pub(crate) fn before_page(size: usize, asked: usize) -> usize {
        asked.saturating_sub(1).saturating_mul(size)
    }

    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// How many stand before this page.
    pub(crate) fn first(&self) -> usize {
        (self.page - 1) * self.size
    }

    pub(crate) fn last_page(&self) -> usize {
        self.all.div_ceil(self.size).max(1)
    }

    pub(crate) fn page(&self) -> usize {
        self.page
    }

    fn at(&self, page: usize) -> String {
        self.link.clone().with("page", &page.to_string()).to_string()
    }

    pub(crate) fn before(&self) -> Option<String> {
        (self.page > 1).then(|| self.at(self.page - 1))
    }

    pub(crate) fn after(&self) -> Option<String> {
        (self.page < self.last_page()).then(|| self.at(self.page + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_questions_cannot_leave_their_place() {
        let link =
            Link::to("/groups").part("../x").part("a?b#c&").with("q", "&page=2\"><").with("no", "");
        assert_eq!(link.to_string(), "/groups/%2E%2E%2Fx/a%3Fb%23c%26?q=%26page%3D2%22%3E%3C");
    }

    #[test]
    fn a_list_has_as_many_pages_as_it_needs_and_one_when_it_is_empty() {
        let pages = |all, asked| Pages::new(all, 50, asked, &Link::to("/x"));
        assert_eq!(
            (pages(0, 9).page(), pages(0, 9).last_page(), pages(0, 9).after()),
            (1, 1, None)
        );
        assert_eq!(
            (pages(51, 0).page(), pages(51, 2).first(), pages(51, 2).after()),
            (1, 50, None)
        );
        assert_eq!(pages(51, 1).after().as_deref(), Some("/x?page=2"));
        assert_eq!(pages(51, 2).before().as_deref(), Some("/x?page=1"));
    }
}
