//! The calls of the Workspace API that this program makes. Reading and writing are two types, so that what only
//! reads (a plan) can't write: the client that could does not exist there.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};

use super::auth::SharedAuthenticator;
use super::auth::canonical::encode;
use super::auth::sign::PROJECT_HEADER;
use super::transport::{Reply, Transport};
use crate::model::Class;

/// Bytes of a write's answer at most.
pub(crate) const MAX_WRITE_ANSWER: usize = 4 << 20;
/// Bytes of a read's answer at most.
pub(crate) const MAX_READ_ANSWER: usize = 32 << 20;

/// Where requests go: a server, a project, and who asks.
#[derive(Clone)]
pub struct Target {
    pub transport: Arc<dyn Transport>,
    pub auth: SharedAuthenticator,
    /// `https://workspace.cn-north-4.myhuaweicloud.com`, without a slash at its end.
    pub endpoint: String,
    pub project_id: String,
}

impl Target {
    async fn call(&self, method: Method, path: &str, query: &[(&str, &str)], body: Bytes, max: usize) -> Reply {
        let mut uri = format!("{}/v2/{}{path}", self.endpoint, encode(&self.project_id));
        // In the order in which they are signed, as the official SDK sends them: a gateway that takes repeated names in
        // the order of the wire then comes to the same signature.
        let mut query = query.to_vec();
        query.sort_unstable();
        for (n, (name, value)) in query.iter().enumerate() {
            _ = write!(uri, "{}{}={}", if n == 0 { '?' } else { '&' }, encode(name), encode(value));
        }
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("Content-Type", "application/json")
            .header(PROJECT_HEADER, &self.project_id)
            .body(body);
        let mut request = match request {
            Ok(request) => request,
            Err(error) => return Reply::NotSent { cause: format!("the request can't be built: {error}") },
        };
        if let Err(cause) = self.auth.authorize(&mut request).await {
            return Reply::NotSent { cause };
        }
        self.transport.call(request, max).await
    }
}

/// Reads live state; can't change anything.
#[derive(Clone)]
pub struct Reader {
    target: Target,
}

impl Reader {
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Reply {
        self.target.call(Method::GET, path, query, Bytes::new(), MAX_READ_ANSWER).await
    }

    /// `GET …/desktops/detail` with filters as given (repeated keys are arrays).
    pub async fn list_desktops(&self, query: &[(&str, &str)]) -> Reply {
        self.get("/desktops/detail", query).await
    }

    /// `GET …/desktops/{id}`.
    pub async fn show_desktop(&self, id: &str) -> Reply {
        self.get(&format!("/desktops/{}", encode(id)), &[]).await
    }

    /// `GET …/workspace-jobs/{id}`.
    pub async fn show_job(&self, id: &str) -> Reply {
        self.get(&format!("/workspace-jobs/{}", encode(id)), &[]).await
    }

    /// `GET …/workspace-sub-jobs?job_id=…`.
    pub async fn list_sub_jobs(&self, job_id: &str, offset: u64) -> Reply {
        self.get("/workspace-sub-jobs", &[("job_id", job_id), ("limit", "1000"), ("offset", &offset.to_string())]).await
    }

    /// `GET …/users` with filters as given.
    pub async fn list_users(&self, query: &[(&str, &str)]) -> Reply {
        self.get("/users", query).await
    }

    /// `GET …/groups` with filters as given.
    pub async fn list_user_groups(&self, query: &[(&str, &str)]) -> Reply {
        self.get("/groups", query).await
    }

    /// `GET …/groups/{id}/users` with filters as given.
    pub async fn list_group_users(&self, group: &str, query: &[(&str, &str)]) -> Reply {
        self.get(&format!("/groups/{}/users", encode(group)), query).await
    }

    /// `GET …/desktop-pools` with filters as given.
    pub async fn list_pools(&self, query: &[(&str, &str)]) -> Reply {
        self.get("/desktop-pools", query).await
    }

    /// `GET …/desktop-pools/{id}/users`: who is authorised for a pool.
    pub async fn list_pool_users(&self, pool: &str, query: &[(&str, &str)]) -> Reply {
        self.get(&format!("/desktop-pools/{}/users", encode(pool)), query).await
    }
}

/// Changes bindings. Only a run or an undo that was confirmed ever makes one.
#[derive(Clone)]
pub struct Writer {
    target: Target,
}

impl Writer {
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// `POST …/desktops/batch-detach` or `…/batch-attach`; `body` goes out byte for byte.
    pub async fn send(&self, class: Class, body: Bytes) -> Reply {
        let path = match class {
            Class::BatchAttach => "/desktops/batch-attach",
            _ => "/desktops/batch-detach",
        };
        self.target.call(Method::POST, path, &[], body, MAX_WRITE_ANSWER).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::keys::KeyAuth;
    use super::super::auth::sign::Key;
    use super::super::http::{HttpOptions, HttpTransport};
    use super::super::testing::{Server, check_signature, reply};
    use super::*;

    fn key() -> Key {
        Key::new("AKAKAKAKAKAK", "se+cret/=", Some("token+/=="))
    }

    async fn strict() -> (Server, Target) {
        let server = Server::start(|seen| match check_signature(seen, &key()) {
            Ok(()) => reply(200, "", "{}"),
            Err(problem) => reply(401, "", &problem),
        })
        .await;
        let auth = Arc::new(KeyAuth::given(key(), None, String::new()));
        let transport = Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap());
        let target = Target { transport, auth, endpoint: server.http(), project_id: "p1".to_owned() };
        (server, target)
    }

    fn assert_accepted(reply: &Reply, what: &str) {
        let Reply::Answer(answer) = reply else { panic!("{what}: {reply:?}") };
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
    }

    #[tokio::test]
    async fn names_in_chinese_and_with_every_punctuation_are_signed_as_they_travel() {
        let (server, target) = strict().await;
        let reader = Reader::new(target);
        let ascii: Vec<String> = (' '..='~').filter(|c| !c.is_alphanumeric()).map(|c| format!("a{c}b{c}")).collect();
        let others = ["张三", "é", "z", "研发 一组+&=?#%2F", "😀", ""].map(str::to_owned);
        for name in ascii.iter().chain(&others) {
            assert_accepted(&reader.list_desktops(&[("user_name", name), ("limit", "500")]).await, name);
            if !name.is_empty() {
                assert_accepted(&reader.show_desktop(name).await, name);
            }
        }
        // Repeated names, in an order that is not the canonical one.
        let many = [
            ("user_names", "张三"),
            ("user_names", "z"),
            ("desktop_id", "b"),
            ("user_names", "é"),
            ("desktop_id", "a"),
        ];
        assert_accepted(&reader.list_desktops(&many).await, "repeated names");
        let line = server.seen().last().unwrap().line().to_owned();
        assert!(
            line.ends_with("?desktop_id=a&desktop_id=b&user_names=z&user_names=%C3%A9&user_names=%E5%BC%A0%E4%B8%89"),
            "{line}"
        );
    }

    #[tokio::test]
    async fn a_body_goes_out_byte_for_byte_under_its_signature() {
        let (server, target) = strict().await;
        let body = Bytes::from_static("{ \"desktops\": [\"桌\"] }\n".as_bytes());
        assert_accepted(&Writer::new(target).send(Class::BatchDetach, body.clone()).await, "a write");
        let seen = &server.seen()[0];
        assert_eq!((seen.line(), seen.body.as_slice()), ("POST /v2/p1/desktops/batch-detach", body.as_ref()));
        assert_eq!(seen.header("Content-Type"), Some("application/json"));
    }

    #[tokio::test]
    async fn an_id_that_a_url_would_swallow_does_not_leave() {
        let (server, target) = strict().await;
        assert!(matches!(Reader::new(target).show_desktop("..").await, Reply::NotSent { .. }));
        assert_eq!(server.seen().len(), 0);
    }
}
