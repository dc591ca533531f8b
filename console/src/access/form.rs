//! Forms as they come in, and what of them is kept when somebody has to sign in first.

use axum::body::Bytes;
use url::form_urlencoded;

/// The field that says whose page a form is of.
pub(crate) const CSRF: &str = "csrf";

/// The fields of a form, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn read(form: &Bytes) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    /// As [`Fields::kept`] wrote them.
    pub(crate) fn of_text(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field; empty where it has none.
    pub(crate) fn first(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default().trim()
    }

    /// Whether they come from a page of this person.
    pub(crate) fn carries(&self, csrf: &str) -> bool {
        let sent = self.all(CSRF).next().map(str::as_bytes);
        sent.is_some_and(|sent| {
            aws_lc_rs::constant_time::verify_slices_are_equal(sent, csrf.as_bytes()).is_ok()
        })
    }

    /// What may stand in a page again: no secret, and not whose page it was.
    pub(crate) fn kept(&self) -> Vec<(String, String)> {
        let is_kept = |(name, _): &&(String, String)| {
            name != CSRF && !name.contains("secret") && !name.contains("password")
        };
        self.0.iter().filter(is_kept).cloned().collect()
    }

    /// The same as one text.
    pub(crate) fn text(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.kept()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_kept_but_for_secrets() {
        let form = Bytes::from(
            "csrf=abc&decision=approve&client_secret=s3cret&password=p&name=%26%3D%C3%BC&name=b",
        );
        let fields = Fields::read(&form);
        assert!(fields.carries("abc"));
        assert!(!fields.carries("abd") && !fields.carries("ab") && !fields.carries(""));
        let kept = Fields::of_text(&fields.text());
        assert_eq!(kept.kept(), fields.kept());
        let names: Vec<String> = kept.kept().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["decision", "name", "name"]);
        assert!(!Fields::read(&Bytes::new()).carries(""));
    }
}
