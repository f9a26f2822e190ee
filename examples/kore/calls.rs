//! Calls of the matrix: of each rule one that uses up the limit, and two to compare it with.

use reqwest::{Client, Method, RequestBuilder};

use crate::{Result, server};

/// One row of the matrix.
pub(crate) struct Row {
    pub(crate) rule: &'static str,
    pub(crate) per_minute: usize,
    pub(crate) call: Call,
    /// Another route of the same rule, with the same key.
    pub(crate) other_route: Call,
    /// The same route, with another key.
    pub(crate) other_key: Call,
}

/// A call of one API.
pub(crate) struct Call {
    method: Method,
    path: &'static str,
    /// The app that signs the token.
    app: &'static str,
    /// The header `accountId`.
    account: Option<&'static str>,
}

/// The parts of a response that matter here.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) ratelimit: Option<String>,
    pub(crate) message: Option<String>,
}

/// The eight rows, in the order of `limits.toml`.
pub(crate) fn matrix() -> [Row; 8] {
    [
        Row {
            rule: "automation.bot",
            per_minute: 60,
            call: post("/api/public/bot/st-1/export"),
            other_route: get("/api/public/bot/st-1/changelogs"),
            other_key: post("/api/public/bot/st-2/export"),
        },
        Row {
            rule: "automation.request-id",
            per_minute: 60,
            call: get("/api/public/bot/st-1/testsuite/smoke/tr-1/status"),
            other_route: get("/api/public/stream/st-1/conversation/testsuite/smoke/tr-1/status"),
            other_key: get("/api/public/bot/st-1/testsuite/smoke/tr-2/status"),
        },
        Row {
            rule: "automation.admin",
            per_minute: 60,
            call: get("/api/public/bots"),
            other_route: post("/api/public/users"),
            other_key: get("/api/public/bots").signed_by("cs-globex"),
        },
        Row {
            rule: "automation.notification",
            per_minute: 600,
            call: post("/api/public/bot/st-1/notify"),
            other_route: get("/api/public/bot/st-1/notify/status/7"),
            other_key: post("/api/public/bot/st-2/notify"),
        },
        Row {
            rule: "automation.data",
            per_minute: 600,
            call: post("/api/public/tables/orders"),
            other_route: post("/api/public/tables/orders/query"),
            other_key: post("/api/public/tables/customers"),
        },
        Row {
            rule: "contact-center",
            per_minute: 60,
            call: post("/agentassist/api/v1/public/st-1/campaign").on_account("acme"),
            other_route: get("/agentassist/api/public/analytics/account/acme/queues"),
            other_key: post("/agentassist/api/v1/public/st-1/campaign").on_account("globex"),
        },
        Row {
            rule: "case-management",
            per_minute: 60,
            call: post("/caseManagement/api/public/analytics/st-1/getCases"),
            other_route: post("/caseManagement/api/public/analytics/st-1/updateTask/7"),
            other_key: post("/caseManagement/api/public/analytics/st-1/getCases").signed_by("cs-globex"),
        },
        Row {
            rule: "quality-ai",
            per_minute: 60,
            call: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/rawdata").on_account("acme"),
            other_route: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/scorereporting").on_account("acme"),
            other_key: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/rawdata").on_account("globex"),
        },
    ]
}

const fn get(path: &'static str) -> Call {
    Call { method: Method::GET, path, app: "cs-acme", account: None }
}

pub(crate) const fn post(path: &'static str) -> Call {
    Call { method: Method::POST, path, app: "cs-acme", account: None }
}

impl Call {
    fn signed_by(self, app: &'static str) -> Self {
        Self { app, ..self }
    }

    pub(crate) fn on_account(self, account: &'static str) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Returns the call as a request to the server at `url`.
    pub(crate) fn request(&self, client: &Client, url: &str) -> Result<RequestBuilder> {
        let request = client.request(self.method.clone(), format!("{url}{}", self.path));
        let request = request.header("auth", server::token(self.app)?);
        Ok(match self.account {
            Some(account) => request.header("accountId", account),
            None => request,
        })
    }
}

impl Answer {
    pub(crate) async fn to(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let header = |name| response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned);
        let status = response.status().as_u16();
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
        let ratelimit = header("ratelimit");
        let problem: Option<serde_json::Value> = serde_json::from_str(&response.text().await?).ok();
        let message = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        Ok(Self { status, retry_after, ratelimit, message })
    }

    pub(crate) const fn is_admitted(&self) -> bool {
        self.status == 200
    }

    pub(crate) const fn outcome(&self) -> &'static str {
        if self.is_admitted() { "admitted" } else { "refused" }
    }

    /// Returns the seconds of `Retry-After`, as text.
    pub(crate) fn wait(&self) -> String {
        self.retry_after.map_or_else(|| "-".into(), |seconds| seconds.to_string())
    }
}
