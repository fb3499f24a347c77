//! Tokens in the shapes of real identity providers pass with one section of configuration each.

use super::*;

/// An authenticator of a fixture's issuer, whose keys are here.
async fn provider(toml: &str, key: &Key) -> (Authenticator, KeyServer) {
    let keys = KeyServer::start(json!({ "keys": [key.jwk()] })).await;
    let authenticator = Authenticator::new(&served_by(issuers(toml), &keys)).unwrap();
    (authenticator, keys)
}

fn is(caller: &Caller, org: &str, user: &str, role: Role) {
    let found = (caller.org.as_str(), caller.principal.id.as_str(), caller.principal.role);
    assert_eq!(found, (org, user, Some(role)));
}

#[tokio::test]
async fn auth0() {
    let (authenticator, _keys) = provider(include_str!("../fixtures/auth0.toml"), &RSA).await;
    let mut claims = json!({
        "iss": "https://acme.eu.auth0.com/",
        "sub": "auth0|507f1f77bcf86cd799439020",
        "aud": ["https://api.acme.example", "https://acme.eu.auth0.com/userinfo"],
        "iat": NOW - 5, "exp": NOW + 86_395,
        "azp": "my_client_id", "scope": "openid profile",
        "https://acme.example/org_id": "org_2eondWoxcMIpaLQc",
        "https://acme.example/role": "admin",
    });
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" });
    let caller = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await.unwrap();
    is(&caller, "org_2eondWoxcMIpaLQc", "auth0|507f1f77bcf86cd799439020", Role::Admin);
    // Auth0 can write `permissions`, a list; it is no role.
    claims["https://acme.example/role"] = json!(["admin"]);
    let denied = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await;
    assert_eq!(denied, Err(Unauthenticated::RoleUnknown));
}

#[tokio::test]
async fn clerk() {
    let (authenticator, _keys) = provider(include_str!("../fixtures/clerk.toml"), &RSA).await;
    let mut claims = json!({
        "azp": "https://app.acme.example", "iss": "https://clerk.acme.example", "aud": "millrace",
        "sub": "user_2abCDefGhIjKlMnOp", "sid": "sess_2xyz", "jti": "9a8b7c", "v": 2, "sts": "active", "fva": [0, -1],
        "iat": NOW, "nbf": NOW - 10, "exp": NOW + 60,
        "o": { "id": "org_2abCDefGh", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3" },
    });
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa", "cat": "cl_B7d4PD111AAA" });
    let caller = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await.unwrap();
    is(&caller, "org_2abCDefGh", "user_2abCDefGhIjKlMnOp", Role::Admin);
    assert_eq!(caller.token_id, "9a8b7c");
    claims["o"]["rol"] = json!("member");
    let caller = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await.unwrap();
    is(&caller, "org_2abCDefGh", "user_2abCDefGhIjKlMnOp", Role::Editor);
    // No active organization: the user acts for nobody.
    claims.as_object_mut().unwrap().remove("o");
    let personal = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await;
    assert_eq!(personal, Err(Unauthenticated::TenantMissing));
}

#[tokio::test]
async fn keycloak() {
    let (authenticator, _keys) = provider(include_str!("../fixtures/keycloak.toml"), &EC).await;
    let mut claims = json!({
        "exp": NOW + 300, "iat": NOW, "auth_time": NOW - 7, "jti": "onrtac:0c9e4f6a-2f5e-4f0a-9a58-1c35e2f9d3f1",
        "iss": "https://id.acme.example/realms/acme", "aud": ["millrace", "account"],
        "sub": "f:550e8400-e29b-41d4-a716-446655440000:u1", "typ": "Bearer", "azp": "web", "sid": "s1", "acr": "1",
        "realm_access": { "roles": ["offline_access", "uma_authorization"] },
        "organization": { "acme": { "id": "42c3e46f" } },
        "scope": "openid organization", "email_verified": true,
        "millrace": { "org_id": "acme", "role": "editor" },
    });
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "ec" });
    let caller = ask(&authenticator, &EC.sign_with(&header, &claims), NOW).await.unwrap();
    is(&caller, "acme", "f:550e8400-e29b-41d4-a716-446655440000:u1", Role::Editor);
    // A mapper that writes a list is a mistake that shows.
    claims["millrace"]["role"] = json!(["editor"]);
    let denied = ask(&authenticator, &EC.sign_with(&header, &claims), NOW).await;
    assert_eq!(denied, Err(Unauthenticated::RoleUnknown));
}

#[tokio::test]
async fn cognito() {
    let (authenticator, _keys) = provider(include_str!("../fixtures/cognito.toml"), &RSA).await;
    let mut claims = json!({
        "sub": "b3c4d5e6-aaaa-bbbb-cccc-111122223333", "cognito:groups": ["acme"], "email_verified": true,
        "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
        "cognito:username": "u1", "origin_jti": "o1", "aud": "4example5client6id7", "event_id": "e1",
        "token_use": "id", "auth_time": NOW, "exp": NOW + 3_600, "iat": NOW, "jti": "j1",
        "custom:org_id": "acme", "custom:role": "acme:staff",
    });
    let header = json!({ "kid": "rsa", "alg": "RS256" });
    let caller = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await.unwrap();
    is(&caller, "acme", "b3c4d5e6-aaaa-bbbb-cccc-111122223333", Role::Editor);
    claims["custom:org_id"] = json!("initech");
    let unbound = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await;
    assert_eq!(unbound, Err(Unauthenticated::TenantNotBound));
    // An access token has `client_id` and no audience.
    claims.as_object_mut().unwrap().remove("aud");
    claims["token_use"] = json!("access");
    let access = ask(&authenticator, &RSA.sign_with(&header, &claims), NOW).await;
    assert_eq!(access, Err(Unauthenticated::RegisteredClaim));
}
