//! Pages: what each shows, made from what control answers, and its template.

pub(crate) mod groups;
pub(crate) mod letters;
mod link;
pub(crate) mod members;
pub(crate) mod overview;
pub(crate) mod removals;
mod words;
