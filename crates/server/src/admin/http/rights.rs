//! What the rights of a token allow.

use crate::{
    admin::{Act, Admin, AdminError, Needs, Request, Response, Scope},
    login::api_tokens::{ApiRights, ApiToken},
};
use posta_mail::Domain;
use posta_store::StoreError;

impl Admin {
    /// Checks that a token's rights allow a request with these needs.
    ///
    /// # Errors
    /// [`AdminError::Forbidden`], or the error of the store.
    pub async fn check_rights(&self, token: &ApiToken, needs: &Needs) -> Result<(), AdminError> {
        let refuse = |why: String| Err(AdminError::Forbidden(why));
        if needs.act > Act::Look && token.rights == ApiRights::Read {
            let what = if needs.act == Act::ReadMail { "reads mail" } else { "changes something" };
            return refuse(format!("the token {} is read-only, and this {what}", token.name));
        }
        match &needs.scope {
            Scope::Machine => refuse(
                "no token allows this: run the command on the machine of the server".to_owned(),
            ),
            Scope::List => Ok(()),
            _ if token.domains.is_empty() => Ok(()),
            Scope::Server => refuse(format!(
                "the token {} is for {} only, and this concerns the whole server",
                token.name,
                token.domains.join(", ")
            )),
            Scope::Names(names) => {
                for name in names {
                    if !self.is_among(name, &token.domains).await? {
                        return refuse(format!(
                            "the token {} is for {} only, not for {name}",
                            token.name,
                            token.domains.join(", ")
                        ));
                    }
                }
                Ok(())
            }
        }
    }

    /// Carries out a request of a token's owner, if the token's rights allow it. The response tells nothing about other
    /// domains than the token's.
    ///
    /// # Errors
    /// [`AdminError::Forbidden`], or that of the request.
    pub async fn execute_for(
        &self,
        token: &ApiToken,
        mut request: Request,
    ) -> Result<Response, AdminError> {
        self.check_rights(token, &request.needs()).await?;
        loop {
            let list = is_paged(&request).then(|| request.clone());
            let response = Box::pin(self.execute(request)).await;
            let response = response.map_err(|error| error.seen_by(token))?.seen_by(token);
            // A page that has nothing for the token ends with a name that it may not see.
            match list.and_then(|list| page_after(list, &response)) {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
    }

    /// Returns whether the domain in a name is one of a token's. A domain that is an alias of another counts as that one,
    /// since its addresses are the other's.
    async fn is_among(&self, name: &str, domains: &[String]) -> Result<bool, StoreError> {
        let domain = name.rsplit_once('@').map_or(name, |(_, domain)| domain);
        let Ok(domain) = domain.parse::<Domain>() else { return Ok(false) };
        let meant = self.store.domain_alias(domain.as_str()).await?.unwrap_or(domain);
        Ok(domains.iter().any(|own| own == meant.as_str()))
    }
}

const fn is_paged(request: &Request) -> bool {
    matches!(request, Request::AccountList { .. } | Request::AliasList { .. })
}

/// Returns the request for the page that follows one without lines.
fn page_after(mut list: Request, page: &Response) -> Option<Request> {
    let (is_empty, next) = match page {
        Response::Accounts { lines, next } => (lines.is_empty(), next),
        Response::Aliases { lines, next } => (lines.is_empty(), next),
        _ => return None,
    };
    let next = next.clone().filter(|_| is_empty)?;
    match &mut list {
        Request::AccountList { after } | Request::AliasList { after } => *after = Some(next),
        _ => return None,
    }
    Some(list)
}

impl AdminError {
    /// Returns the error without suggestions, which may be names of other domains than a token's.
    fn seen_by(self, token: &ApiToken) -> Self {
        let list = |what: &str| format!("`posta {what} list` shows all");
        match self {
            error if token.domains.is_empty() => error,
            Self::UnknownAccount(name, _) => Self::UnknownAccount(name, list("account")),
            Self::UnknownDomain(name, _) => Self::UnknownDomain(name, list("domain")),
            error => error,
        }
    }
}

impl Response {
    /// Returns the response without what is about other domains than a token's.
    #[must_use]
    pub fn seen_by(mut self, token: &ApiToken) -> Self {
        if token.domains.is_empty() {
            return self;
        }
        let is_own = |name: &str| {
            let domain = name.rsplit_once('@').map_or(name, |(_, domain)| domain);
            token.domains.iter().any(|own| own == domain)
        };
        match &mut self {
            Self::Accounts { lines, next } => {
                lines.retain(|line| is_own(&line.address));
                end_with(next, lines.last().map(|line| &line.address));
            }
            Self::RemovedAccounts(lines) => lines.retain(|line| is_own(&line.address)),
            Self::Aliases { lines, next } => {
                lines.retain(|line| is_own(&line.name));
                end_with(next, lines.last().map(|line| &line.name));
            }
            Self::Domains(lines) => lines.retain(|line| is_own(&line.domain)),
            Self::AccountRemoved { leading, postmaster_of, .. } => {
                leading.retain(|name| is_own(name));
                postmaster_of.retain(|name| is_own(name));
            }
            Self::AccountRenamed { aliases, allowed } => {
                aliases.retain(|name| is_own(name));
                allowed.retain(|name| is_own(name));
            }
            _ => {}
        }
        self
    }
}

/// Makes a page that is not the last end with its last line.
fn end_with(next: &mut Option<String>, last: Option<&String>) {
    if let (Some(next), Some(last)) = (next, last) {
        next.clone_from(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::{
            MailRequest, TokenRequest,
            http::{Caller, Interface},
        },
        collect::{CollectContext, Collectors},
    };
    use posta_mail::Timestamp;
    use posta_net::{clock::SimulatedClock, tls::client::ClientTls, transport::MemoryNet};
    use posta_store::{Credentials, MemoryStore, Store};
    use std::{sync::Arc, time::Duration};
    use tokio::time::{sleep, timeout};

    /// Returns an operator of a store with the domains x.test and y.test, of which z.test is an alias.
    async fn admin() -> Admin {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let domain = |name: &str| name.parse::<Domain>().unwrap();
        for name in ["x.test", "y.test"] {
            store.add_domain(&domain(name)).await.unwrap();
        }
        store.set_domain_alias(&domain("z.test"), &domain("y.test")).await.unwrap();
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let context = CollectContext {
            net: Arc::new(MemoryNet::default()),
            tls: ClientTls::new(&[]).unwrap(),
            clock: clock.clone(),
            message_size: 1_000,
            hostname: domain("mail.x.test"),
        };
        Admin::new(store.clone(), clock, Arc::new(Collectors::new(store, context)))
    }

    fn token(rights: ApiRights, domains: &[&str]) -> ApiToken {
        ApiToken {
            name: "t".to_owned(),
            rights,
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            until: None,
            made: Timestamp::UNIX_EPOCH,
            used: None,
            hash: String::new(),
        }
    }

    /// A token for one domain learns of no name in another: not from where a page ends, not from suggestions, and not from
    /// what leads to its accounts.
    #[tokio::test]
    async fn a_token_hears_of_its_own_domains_only() {
        let admin = admin().await;
        let of_x = token(ApiRights::All, &["x.test"]);
        let (x, y) = (1_001, 1_500);
        let names = (0..x).map(|at| format!("a{at:04}@x.test"));
        for name in names.chain((0..y).map(|at| format!("secret{at:04}@y.test"))) {
            let address = name.parse().unwrap();
            admin.store.add_account(&address, Credentials::default()).await.unwrap();
        }
        let alias = |name: &str, member: &str| Request::AliasAdd {
            name: name.to_owned(),
            targets: vec![member.to_owned()],
        };
        for (name, member) in [
            ("list@x.test", "a0001@x.test"),
            ("secret@y.test", "a0001@x.test"),
            ("secrets@y.test", "a0002@x.test"),
        ] {
            admin.execute(alias(name, member)).await.unwrap();
        }
        let (mut after, mut seen, mut pages) = (None, 0, 0);
        let mut told = String::new();
        loop {
            let page = admin.execute_for(&of_x, Request::AccountList { after }).await.unwrap();
            told += &format!("{page:?}");
            let Response::Accounts { lines, next } = page else { panic!("{page:?}") };
            (seen, pages) = (seen + lines.len(), pages + 1);
            if next.is_none() {
                break;
            }
            after = next;
            assert!(pages < 10);
        }
        assert_eq!((seen, pages), (1_001, 3), "the rest is passed over at once");
        let a = |number: u32| format!("a{number:04}@x.test");
        for request in [
            Request::AliasList { after: None },
            Request::AccountRename { address: a(1), new: "b@x.test".to_owned(), alias: false },
            Request::AccountRemove { address: a(2) },
        ] {
            told += &format!("{:?}", admin.execute_for(&of_x, request).await.unwrap());
        }
        let unknown = Request::AccountRemove { address: "secret0001@x.test".to_owned() };
        let suggested = admin.execute(unknown.clone()).await.unwrap_err().to_string();
        assert!(suggested.contains("secret0001@y.test"), "the operator gets one: {suggested}");
        let plain = admin.execute_for(&of_x, unknown).await.unwrap_err().to_string();
        told += &plain.replace("secret0001@x.test", "");
        assert!(told.contains("list@x.test") && plain.contains("account list"), "{plain}");
        assert!(!told.contains("secret"), "{}", &told[told.find("secret").unwrap()..]);
    }

    #[tokio::test]
    async fn a_token_allows_what_its_rights_say_and_nothing_else() {
        let admin = admin().await;
        let add = |domain: &str| Request::DomainAdd { domain: domain.to_owned(), postmaster: None };
        let all = token(ApiRights::All, &[]);
        let read = token(ApiRights::Read, &[]);
        let of_x = token(ApiRights::All, &["x.test"]);
        let of_y = token(ApiRights::All, &["y.test"]);
        let quota = |address: &str| Request::AccountQuota { address: address.into(), quota: None };
        let rename = |new: &str| {
            let address = "ana@x.test".to_owned();
            Request::AccountRename { address, new: new.to_owned(), alias: false }
        };
        let allow = |from: &str| Request::AccountAllow {
            address: "ana@x.test".to_owned(),
            from: from.to_owned(),
        };
        let catch_all = |name: &str| Request::AliasSet {
            name: name.to_owned(),
            targets: vec!["a@b.test".to_owned()],
        };
        let read_mail = Request::Mail {
            address: "ana@x.test".to_owned(),
            folder: None,
            request: MailRequest::Read { uid: 1, offset: 0 },
        };
        let tokens = Request::Tokens { request: TokenRequest::List };
        let trace = Request::Trace { named: "ana@x.test".to_owned(), within: None };
        // In the columns: all, read, all of x.test, all of y.test.
        for (request, expected) in [
            (quota("ana@x.test"), [true, false, true, false]),
            (quota("ana@X.Test"), [true, false, true, false]),
            (quota("ana@sub.x.test"), [true, false, false, false]),
            (quota("ana@z.test"), [true, false, false, true]),
            (quota("ana@y.test@x.test"), [true, false, true, false]),
            (quota("ana"), [true, false, false, false]),
            (rename("eva@x.test"), [true, false, true, false]),
            (rename("eva@y.test"), [true, false, false, false]),
            (allow("@x.test"), [true, false, true, false]),
            (allow("@y.test"), [true, false, false, false]),
            (allow("any"), [true, false, false, false]),
            (catch_all("@x.test"), [true, false, true, false]),
            (read_mail, [true, false, true, false]),
            (Request::AccountList { after: None }, [true, true, true, true]),
            (trace, [true, true, false, false]),
            (add("w.test"), [true, false, false, false]),
            (tokens, [false, false, false, false]),
        ] {
            let needs = request.needs();
            for (token, expected) in [&all, &read, &of_x, &of_y].into_iter().zip(expected) {
                let checked = admin.check_rights(token, &needs).await;
                assert_eq!(checked.is_ok(), expected, "{needs:?} with {token:?}");
            }
        }
        let domains = admin.execute(Request::DomainList).await.unwrap().seen_by(&of_x);
        let Response::Domains(lines) = domains else { panic!("{domains:?}") };
        assert_eq!(lines.iter().map(|line| line.domain.as_str()).collect::<Vec<_>>(), ["x.test"]);
    }

    /// A panel that gives up waiting, or Ctrl-C, used to stop a change between two of its transactions.
    #[tokio::test]
    async fn what_was_begun_is_carried_out_without_its_client() {
        let admin = admin().await;
        let interface = Interface::new(admin.clone());
        let add = Request::AccountAdd {
            address: "ana@x.test".to_owned(),
            password: "correct horse".to_owned(),
            apop: false,
        };
        // The password is hashed by a thread, so the answer is not there at once.
        let answered = interface.respond("account-add", add, Caller::Operator);
        assert!(timeout(Duration::ZERO, answered).await.is_err());
        let ana = "ana@x.test".parse().unwrap();
        for _ in 0..3_000 {
            if admin.store.account(&ana).await.unwrap().is_some() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the account was not added");
    }
}
