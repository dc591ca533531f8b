//! Pages: what each shows, made from what control answers, and its template.

pub(crate) mod overview;
mod words;
