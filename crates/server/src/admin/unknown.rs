//! Carrying out requests, and the errors about accounts and domains that do not exist, which suggest the
//! nearest existing name.

use super::{Admin, AdminError, ReportsQuery, Request, Response, SenderScope};
use posta_store::StoreError;
use std::pin::Pin;

/// The similarity that a known name must have to be suggested (Jaro-Winkler; 1 is equal).
const SIMILAR: f64 = 0.85;

/// The number of accounts read at a time.
const PAGE: usize = 1_000;

/// A request that is carried out.
type CarriedOut<'a> = Pin<Box<dyn Future<Output = Result<Response, AdminError>> + Send + 'a>>;

impl Admin {
    /// Begins to carry out a request. An `async fn` is compiled once for each unit of code that awaits it; that of all
    /// requests was in the program four times, half a megabyte. What this returns is compiled once, here.
    fn begin(&self, request: Request) -> CarriedOut<'_> {
        Box::pin(self.carry_out(request))
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// When the request cannot be carried out.
    pub async fn execute(&self, request: Request) -> Result<Response, AdminError> {
        let address = address(&request).map(str::to_owned);
        let domain = match &request {
            Request::DomainRemove { domain }
            | Request::DomainKeys { domain, .. }
            | Request::Reports(ReportsQuery { domain: Some(domain), .. })
            | Request::Senders { scope: SenderScope::Domain(domain), .. } => Some(domain.clone()),
            _ => None,
        };
        match (self.begin(request).await, address, domain) {
            (Err(AdminError::Store(StoreError::NoSuchAccount)), Some(address), _) => {
                let nearest = self.nearest_account(&address).await?;
                Err(AdminError::UnknownAccount(address, meant(nearest, "posta account list")))
            }
            (Err(AdminError::Store(StoreError::NoSuchDomain(_))), _, Some(domain)) => {
                let domains = self.store.domains().await?.into_iter();
                let nearest = nearest(&domain, domains.map(|known| known.to_string()));
                Err(AdminError::UnknownDomain(domain, meant(nearest, "posta domain list")))
            }
            (outcome, ..) => outcome,
        }
    }

    /// Returns the address of the account whose name is most similar to `name`. Accounts are read in
    /// pages.
    async fn nearest_account(&self, name: &str) -> Result<Option<String>, StoreError> {
        let (mut best, mut after) = (None, None);
        loop {
            let accounts = self.store.accounts(after.as_ref(), PAGE).await?;
            after = accounts.last().map(|account| account.address.clone());
            let known = accounts.into_iter().map(|account| account.address.to_string());
            best = nearest(name, known.chain(best));
            if after.is_none() {
                return Ok(best);
            }
        }
    }
}

/// Returns the account that a request is about.
fn address(request: &Request) -> Option<&str> {
    match request {
        Request::Senders { scope: SenderScope::Account(address), .. }
        | Request::AccountRemove { address, .. }
        | Request::AccountPassword { address, .. }
        | Request::AccountUndelete { address, .. }
        | Request::Transfer { address, .. }
        | Request::AccountQuota { address, .. }
        | Request::AccountRename { address, .. }
        | Request::AccountDisable { address, .. }
        | Request::AccountJunk { address, .. }
        | Request::AccountAllow { address, .. }
        | Request::AccountDisallow { address, .. }
        | Request::SourceAdd { address, .. }
        | Request::TakeOver { address, .. }
        | Request::Personal { address, .. }
        | Request::Mail { address, .. }
        | Request::Folder { address, .. } => Some(address),
        _ => None,
    }
}

fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let likeness = |known: &String| strsim::jaro_winkler(&name.to_lowercase(), known);
    let known = known.map(|known| (likeness(&known), known));
    let nearest = known.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (nearest.0 >= SIMILAR).then_some(nearest.1)
}

fn meant(nearest: Option<String>, list: &str) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("`{list}` shows all"),
    }
}

/// Returns the fault of a text that should be an address or a domain.
pub(super) fn not_valid(text: &str, error: &posta_mail::AddressError) -> String {
    let several =
        |text: &str| text.split([',', ';', ' ']).filter(|part| part.contains('@')).count() > 1;
    if several(text) {
        return format!("{text:?} holds several addresses: give each as an argument of its own");
    }
    format!("{text:?} is not valid: {error}")
}
