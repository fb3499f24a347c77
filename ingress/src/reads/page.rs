//! Keyset paging: `?limit=` and `?after=`, and the cursor a page ends with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::ReadFault;

/// Rows of a page, where none are named.
const LIMIT: u16 = 50;
/// Most rows of a page.
const MOST: u16 = 100;
/// Most bytes of a row's id: 128 characters of four bytes.
const ID_BYTES: usize = 512;
/// Bytes of the moment in a cursor.
const MOMENT_BYTES: usize = 8;
const NANOS_A_MICRO: i128 = 1000;

/// Where the next page begins: behind this row, in the order newest first, then by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) created_at: OffsetDateTime,
    pub(super) id: String,
}

impl Cursor {
    /// Base64url of the microseconds since 1970 and the id. It proves nothing and needs not: what it leads to is
    /// bounded by the tenant in scope.
    pub(super) fn text(&self) -> String {
        let micros = self.created_at.unix_timestamp_nanos() / NANOS_A_MICRO;
        let mut bytes = i64::try_from(micros).unwrap_or(i64::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads it; what PostgreSQL could not compare with is no cursor.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (moment, id) = bytes.split_at_checked(MOMENT_BYTES)?;
        let micros = i64::from_be_bytes(moment.try_into().ok()?);
        let id = std::str::from_utf8(id).ok()?;
        if micros < 0 || id.is_empty() || id.len() > ID_BYTES || id.contains('\0') {
            return None;
        }
        let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * NANOS_A_MICRO).ok()?;
        Some(Self { created_at, id: id.to_owned() })
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    limit: u16,
    after: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: LIMIT, after: None }
    }
}

impl Page {
    /// Reads a query; without one it is the first page.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ReadFault> {
        let [limit, after] = parameters(query, ["limit", "after"])?;
        Self::of(limit, after)
    }

    /// The page of these two parameters.
    pub(super) fn of(limit: Option<&str>, after: Option<&str>) -> Result<Self, ReadFault> {
        let limit = match limit {
            None => LIMIT,
            Some(text) => whole(text).filter(|rows| (1..=MOST).contains(rows)).ok_or(ReadFault::Limit)?,
        };
        let after = after.map(|text| Cursor::parse(text).ok_or(ReadFault::Cursor)).transpose()?;
        Ok(Self { limit, after })
    }

    /// Rows to ask for: one more than are shown, which tells whether another page follows.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Of the last row already shown.
    pub(super) fn created_at(&self) -> Option<OffsetDateTime> {
        self.after.as_ref().map(|cursor| cursor.created_at)
    }

    /// Of the last row already shown.
    pub(super) fn id(&self) -> Option<&str> {
        self.after.as_ref().map(|cursor| cursor.id.as_str())
    }

    /// The list as it is answered.
    pub(super) fn answer<Row>(&self, mut rows: Vec<Row>, place: fn(&Row) -> Cursor, shape: fn(&Row) -> Value) -> Value {
        let more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows.last().filter(|_| more).map(|row| place(row).text());
        json!({ "items": rows.iter().map(shape).collect::<Vec<_>>(), "next": next })
    }
}

/// For routes without parameters.
pub(super) fn none(query: Option<&str>) -> Result<(), ReadFault> {
    parameters(query, []).map(|[]: [Option<&str>; 0]| ())
}

/// The values of the known parameters, as they were sent: names and most values need no character that a query escapes.
pub(super) fn parameters<'q, const N: usize>(
    query: Option<&'q str>,
    known: [&str; N],
) -> Result<[Option<&'q str>; N], ReadFault> {
    let mut values = [None; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = known.iter().position(|known| *known == name).ok_or(ReadFault::Query)?;
        if values[place].replace(value).is_some() {
            return Err(ReadFault::Query);
        }
    }
    Ok(values)
}

/// A number of nothing but digits.
pub(super) fn whole(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(query: &str) -> &'static str {
        Page::parse(Some(query)).map_or_else(|fault| fault.code(), |_| "ok")
    }

    #[test]
    fn only_the_known_parameters_within_their_bounds_are_read() {
        let cursor = Cursor { created_at: OffsetDateTime::UNIX_EPOCH, id: "a".into() };
        let both = Page::parse(Some(&format!("after={}&limit=7", cursor.text()))).unwrap();
        assert_eq!(both, Page { limit: 7, after: Some(cursor) });
        for first in [None, Some("")] {
            assert_eq!(Page::parse(first).unwrap(), Page { limit: 50, after: None });
        }
        for (query, wanted) in [
            ("limit=1", "ok"),
            ("limit=100", "ok"),
            ("limit=0", "invalid_limit"),
            ("limit=101", "invalid_limit"),
            ("limit=", "invalid_limit"),
            ("limit", "invalid_limit"),
            ("limit=+5", "invalid_limit"),
            ("limit=%35", "invalid_limit"),
            ("limit=99999999999999999999", "invalid_limit"),
            ("limit=5&limit=5", "invalid_query"),
            ("after=", "invalid_cursor"),
            ("after=!", "invalid_cursor"),
            ("after=AAAA", "invalid_cursor"),
            ("order=name", "invalid_query"),
            ("Limit=5", "invalid_query"),
            ("=5", "invalid_query"),
        ] {
            assert_eq!(code(query), wanted, "{query}");
        }
        assert!(none(Some("")).is_ok());
        assert_eq!(none(Some("limit=5")).unwrap_err().code(), "invalid_query");
    }

    #[test]
    fn what_postgresql_cannot_compare_with_is_no_cursor() {
        let text = |micros: i64, id: &str| URL_SAFE_NO_PAD.encode([&micros.to_be_bytes()[..], id.as_bytes()].concat());
        assert!(Cursor::parse(&text(0, "a")).is_some());
        for (micros, id) in [(-1, "a"), (i64::MAX, "a"), (0, ""), (0, "a\0"), (0, &"a".repeat(513))] {
            assert!(Cursor::parse(&text(micros, id)).is_none(), "{micros} {id}");
        }
    }

    #[test]
    fn a_page_that_is_full_leads_on_only_when_rows_follow() {
        let page = Page { limit: 2, after: None };
        let place =
            |row: &i64| Cursor { created_at: OffsetDateTime::from_unix_timestamp(*row).unwrap(), id: row.to_string() };
        let shape = |row: &i64| json!(row);
        assert_eq!(page.answer(vec![3, 2], place, shape), json!({ "items": [3, 2], "next": null }));
        let on = page.answer(vec![3, 2, 1], place, shape);
        assert_eq!(on, json!({ "items": [3, 2], "next": place(&2).text() }));
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(micros in 0..253_402_300_800_000_000_i64, id in "[^\\x00]{1,128}") {
            let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap();
            let cursor = Cursor { created_at, id };
            prop_assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }

        #[test]
        fn no_query_makes_it_panic(query in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Page::parse(Some(&query));
            let _ = Page::parse(Some(&format!("after={query}")));
            let _ = Cursor::parse(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
