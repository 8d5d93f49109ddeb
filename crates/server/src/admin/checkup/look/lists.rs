//! Asks block lists about addresses (RFC 5782).

use crate::admin::checkup::facts::{ListFacts, Listing};
use posta_net::dns::{
    Resolver,
    lists::{self, Credibility, ListAnswer},
};
use std::{net::IpAddr, sync::Arc};
use tokio::task::JoinSet;

const REFUSES: &str = "refuses the name servers in use here";

/// Asks each list about each address.
pub(super) async fn look(
    resolver: &Arc<dyn Resolver>,
    zones: &[String],
    addresses: &[IpAddr],
) -> Vec<ListFacts> {
    let mut asking = JoinSet::new();
    for (order, list) in zones.iter().cloned().enumerate() {
        let (resolver, addresses) = (resolver.clone(), addresses.to_vec());
        asking.spawn(async move { (order, ask(&*resolver, list, addresses).await) });
    }
    let mut found = asking.join_all().await;
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().flat_map(|(_, facts)| facts).collect()
}

async fn ask(resolver: &dyn Resolver, list: String, addresses: Vec<IpAddr>) -> Vec<ListFacts> {
    let useless = why_useless(resolver, &list).await;
    let mut found = Vec::new();
    for address in addresses {
        let outcome = match &useless {
            Some(why) => Listing::Unknown(why.clone()),
            None => listing(resolver, &list, address).await,
        };
        found.push(ListFacts { list: list.clone(), address, outcome });
    }
    found
}

/// Returns why a list tells nothing. Many lists do not answer the name servers of large providers, and some that have
/// been given up list everybody.
async fn why_useless(resolver: &dyn Resolver, list: &str) -> Option<String> {
    let why = match lists::judge(resolver, list).await {
        Ok(Credibility::Credible) => return None,
        Ok(Credibility::ListsEverybody) => "lists every address, so it is out of use",
        Ok(Credibility::Refuses) => REFUSES,
        Ok(Credibility::ListsNobody) => {
            "no answer to the name servers in use here; many lists refuse large public ones"
        }
        Err(error) => return Some(error.to_string()),
    };
    Some(why.to_owned())
}

async fn listing(resolver: &dyn Resolver, list: &str, address: IpAddr) -> Listing {
    match lists::ask(resolver, list, address).await {
        Ok(ListAnswer::Absent) => Listing::Absent,
        Ok(ListAnswer::Refused) => Listing::Unknown(REFUSES.to_owned()),
        Ok(ListAnswer::Present(_)) => Listing::Listed(lists::words(resolver, list, address).await),
        Err(error) => Listing::Unknown(error.to_string()),
    }
}
