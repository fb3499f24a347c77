//! Every mistake of `[issuers]` and `[tenant]` has its place, and what is said is what is read.

use super::*;
use crate::config::{ConfigFault, Mistake};

const SECRET: &str = "a local secret of more than 32 bytes";
const SOUND: &str = r#"
    [issuers.idp]
    issuer = "https://id.example/"
    audience = "millrace"
    jwks_uri = "https://id.example/jwks"
    algorithms = ["EdDSA", "RS256"]
"#;

fn load(toml: &str, process: Process) -> Result<Vec<IssuerConfig>, Vec<Mistake>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("local"), SECRET).unwrap();
    std::fs::write(folder.path().join("short"), "x".repeat(SHORTEST_SECRET - 1)).unwrap();
    let file = folder.path().join("millrace.toml");
    std::fs::write(&file, toml).unwrap();
    let mut reader = Reader::open(&file, std::iter::empty()).unwrap();
    let tenant = reader.section("tenant", TenantConfig::read);
    let issuers = reader.section("issuers", |s| read(s, process, &tenant));
    reader.finish(issuers).map_err(|fault| match fault {
        ConfigFault::Mistakes(mistakes) => mistakes,
        other => panic!("{other}"),
    })
}

fn places(toml: &str) -> Vec<String> {
    load(toml, Process::Ingress).map_or_else(|m| m.into_iter().map(|m| m.place).collect(), |_| Vec::new())
}

#[test]
fn what_is_not_said_has_its_default() {
    let issuer = load(SOUND, Process::Ingress).unwrap().remove(0);
    assert_eq!((issuer.name.as_str(), issuer.issuer.as_str()), ("idp", "https://id.example/"));
    assert_eq!(issuer.audience, "millrace");
    let paths = [&issuer.org_id_claim, &issuer.user_id_claim, &issuer.role_claim].map(ToString::to_string);
    assert_eq!(paths, ["org_id", "sub", "role"]);
    assert_eq!((issuer.roles.len(), issuer.default_role), (0, Some(Role::Viewer)));
    assert_eq!((issuer.longest_lifetime.as_secs(), issuer.actor_kind), (86_400, ActorKind::User));
    assert_eq!(issuer.types, TokenTypes { absent: true, named: vec!["JWT".to_owned(), "at+jwt".to_owned()] });
    assert_eq!(issuer.tenants, []);
    let IssuerKeys::Published { jwks_uri, algorithms } = issuer.keys else { panic!("published keys") };
    assert_eq!(jwks_uri.as_str(), "https://id.example/jwks");
    assert_eq!(algorithms, [PublicAlgorithm::EdDsa, PublicAlgorithm::Rs256]);
    assert!(load("", Process::Ingress).unwrap().is_empty());
}

#[test]
fn an_issuer_says_otherwise_than_the_section_tenant() {
    let toml = format!(
        "[tenant]\norg_id_claim = \"o.id\"\ndefault_role = \"deny\"\n{SOUND}\
         role_claim = [\"https://acme.example/role\"]\ntyp = [\"absent\"]\ntenants = [\"acme\"]\nactor_kind = \"service\"\n\
         [issuers.idp.roles]\n\"org:admin\" = \"admin\"\n"
    );
    let issuer = load(&toml, Process::Ingress).unwrap().remove(0);
    assert_eq!(issuer.org_id_claim.segments(), ["o", "id"]);
    assert_eq!(issuer.role_claim.segments(), ["https://acme.example/role"]);
    assert_eq!((issuer.default_role, issuer.roles["org:admin"]), (None, Role::Admin));
    assert_eq!(issuer.types, TokenTypes { absent: true, named: Vec::new() });
    assert_eq!((issuer.tenants[0].as_str(), issuer.actor_kind), ("acme", ActorKind::Service));
    let own = load(&format!("{toml}[issuers.other]\n"), Process::Ingress).unwrap_err();
    assert!(own.iter().all(|mistake| mistake.place.starts_with("issuers.other.")), "{own:?}");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (from, to, place) in [
        ("issuer = \"https://id.example/\"", "", "issuer"),
        ("\"https://id.example/\"", "\"\"", "issuer"),
        ("audience = \"millrace\"", "", "audience"),
        ("\"millrace\"", "\"\"", "audience"),
        ("jwks_uri = \"https://id.example/jwks\"", "", "jwks_uri"),
        ("https://id.example/jwks", "http://id.example/jwks", "jwks_uri"),
        ("https://id.example/jwks", "http://localhost.evil.example/jwks", "jwks_uri"),
        ("https://id.example/jwks", "file:///etc/jwks", "jwks_uri"),
        ("https://id.example/jwks", "https://me:hush@id.example/jwks", "jwks_uri"),
        ("https://id.example/jwks", "https://id.example/jwks#a", "jwks_uri"),
        ("https://id.example/jwks", "jwks", "jwks_uri"),
        ("algorithms = [\"EdDSA\", \"RS256\"]", "", "algorithms"),
        ("\"RS256\"", "\"HS256\"", "algorithms"),
        ("\"RS256\"", "\"none\"", "algorithms"),
        ("\"RS256\"", "\"rs256\"", "algorithms"),
    ] {
        assert!(SOUND.contains(from));
        assert_eq!(places(&SOUND.replace(from, to)), [format!("issuers.idp.{place}")], "{from} → {to}");
    }
    for (line, place) in [
        ("org_id_claim = \"\"", "org_id_claim"),
        ("user_id_claim = \"a..b\"", "user_id_claim"),
        ("role_claim = []", "role_claim"),
        ("role_claim = \"a.b.c.d.e.f.g.h.i\"", "role_claim"),
        ("default_role = \"owner\"", "default_role"),
        ("longest_lifetime_s = 0", "longest_lifetime_s"),
        ("actor_kind = \"operator\"", "actor_kind"),
        ("tenants = [\"a b\"]", "tenants"),
        ("tenants = [\"millrace:operator\"]", "tenants"),
        ("typ = []", "typ"),
        ("roles = { boss = \"owner\" }", "roles.boss"),
        ("surprise = 1", "surprise"),
        ("secret_file = \"local\"", "jwks_uri"),
    ] {
        assert_eq!(places(&format!("{SOUND}{line}\n")), [format!("issuers.idp.{place}")], "{line}");
    }
    assert_eq!(places(&SOUND.replace("idp", "IDP")), ["issuers.IDP."]);
    let twice = format!("{SOUND}{}", SOUND.replace("issuers.idp", "issuers.other"));
    assert_eq!(places(&twice), ["issuers.other.issuer"]);
    for (line, place) in [
        ("isolation_strategy = \"silo\"", "isolation_strategy"),
        ("isolation_strategy = \"bridge\"", "isolation_strategy"),
        ("org_id_claim = \"a.\"", "org_id_claim"),
        ("default_role = \"root\"", "default_role"),
        ("surprise = 1", "surprise"),
    ] {
        assert_eq!(places(&format!("[tenant]\n{line}\n")), [format!("tenant.{place}")], "{line}");
    }
    assert_eq!(places("[tenant]\nisolation_strategy = \"pool\"\n"), Vec::<String>::new());
}

#[test]
fn keys_without_tls_stay_on_this_host() {
    for host in ["127.0.0.1:8080", "127.8.0.1", "localhost:1", "[::1]:1"] {
        let toml = SOUND.replace("https://id.example/jwks", &format!("http://{host}/jwks"));
        assert_eq!(places(&toml), Vec::<String>::new(), "{host}");
    }
}

#[test]
fn a_local_secret_is_read_by_those_who_need_it() {
    let local =
        |file: &str| format!("[issuers.dev]\nissuer = \"dev\"\naudience = \"millrace\"\nsecret_file = \"{file}\"\n");
    for (process, reads) in [
        (Process::Ingress, true),
        (Process::Token, true),
        (Process::All, true),
        (Process::Worker, false),
        (Process::Relay, false),
        (Process::Audit, false),
        (Process::Operator, false),
    ] {
        let issuers = load(&local("local"), process).unwrap();
        let IssuerKeys::Local(secret) = &issuers[0].keys else { panic!("a local secret") };
        assert_eq!(secret.as_ref().map(|secret| secret.expose_secret()), reads.then_some(SECRET), "{process:?}");
        for (file, place) in [("short", "issuers.dev.secret"), ("nowhere", "issuers.dev.secret_file")] {
            let loaded = load(&local(file), process).map_err(|mistakes| mistakes[0].place.clone());
            assert_eq!(loaded.map(|_| ()).err(), reads.then(|| place.to_owned()), "{process:?} {file}");
        }
    }
    let hs256 = format!("{}algorithms = [\"HS256\"]\n", local("local"));
    assert_eq!(places(&hs256), Vec::<String>::new());
    for other in ["[\"RS256\"]", "[\"HS256\", \"RS256\"]", "[\"HS512\"]"] {
        assert_eq!(places(&format!("{}algorithms = {other}\n", local("local"))), ["issuers.dev.algorithms"], "{other}");
    }
    let open = local("local").replace("secret_file = \"local\"", &format!("secret = \"{SECRET}\""));
    let mistakes = load(&open, Process::Ingress).unwrap_err();
    assert_eq!(mistakes[0].place, "issuers.dev.secret");
    assert!(!format!("{mistakes:?}").contains(SECRET));
}
