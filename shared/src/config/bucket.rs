//! A bucket of an object store that speaks S3, and who may write to it.

use secrecy::SecretString;
use url::Url;

use super::Reader;

/// Where objects go.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the names of objects begin with, without slashes around it; may be empty.
    pub prefix: String,
    /// Where it is.
    pub region: String,
    /// Who answers; by default Amazon.
    pub endpoint: Option<Url>,
    /// Id and secret of an access key; without one the host's own rights count.
    pub login: Option<(String, SecretString)>,
}

impl Bucket {
    /// Reads the keys beside `key`, whose value is `s3://name/prefix`. `None` when that is another URL.
    pub(super) fn read(s: &mut Reader, key: &str, url: &Url, needed: bool) -> Option<Self> {
        let plain =
            url.query().is_none() && url.fragment().is_none() && url.port().is_none() && url.username().is_empty();
        let name = url.host_str().filter(|name| url.scheme() == "s3" && plain && !name.is_empty())?.to_owned();
        let endpoint = format!("{key}_endpoint");
        let endpoint = if s.has(&endpoint) { address(s, &endpoint) } else { None };
        let region = s.text(&format!("{key}_region"), Some("us-east-1"));
        let id = format!("{key}_key_id");
        let login = if s.has(&id) {
            let id = s.text(&id, None);
            s.secret(&format!("{key}_secret_key"), needed).map(|secret| (id, secret))
        } else {
            None
        };
        Some(Self { name, prefix: url.path().trim_matches('/').to_owned(), region, endpoint, login })
    }
}

fn address(s: &mut Reader, key: &str) -> Option<Url> {
    const FORM: &str = "a URL such as https://s3.example";
    let url: Url = s.parsed(key, None, FORM)?;
    if matches!(url.scheme(), "http" | "https") {
        return Some(url);
    }
    s.mistake(key, format!("must be {FORM}"));
    None
}
