//! TLS to the database: a server that ends TLS in front of PostgreSQL's socket.

use super::{address, cluster, settings};
use posta_store::{Credentials, Directory as _};
use posta_store_postgres::PostgresStore;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{fs, path::Path, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, UnixStream},
};
use tokio_rustls::TlsAcceptor;

/// What a client that wants TLS sends first.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Returns what ends TLS for `localhost`, and the certificate.
pub fn acceptor() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// Serves PostgreSQL in TLS. Returns the port, and the certificate.
async fn serve(socket: &Path) -> (u16, String) {
    let (acceptor, certificate) = acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = socket.join(".s.PGSQL.5432");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await.unwrap();
                assert_eq!(request, SSL_REQUEST, "nothing is sent before TLS");
                client.write_all(b"S").await.unwrap();
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = UnixStream::connect(socket).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, certificate)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_database_is_verified() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let (port, certificate) = serve(cluster.directory()).await;
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("ca.pem");
    fs::write(&roots, certificate).unwrap();
    let url = |host: &str, roots: &str| {
        format!("postgresql://posta@{host}:{port}/postgres?sslmode=require{roots}")
    };
    let with_roots = format!("&sslrootcert={}", roots.display());
    let open = async |url: &str| {
        PostgresStore::open(settings(url, &schema, directory.path().join("keys").as_ref())).await
    };
    let store = open(&url("localhost", &with_roots)).await.unwrap();
    store.add_account(&address("ana@x.test"), Credentials::default()).await.unwrap();
    let stranger = open(&url("localhost", "")).await.err().unwrap().to_string();
    assert!(stranger.contains("certificate"), "no authority of browsers knows it: {stranger}");
    let other = open(&url("127.0.0.1", &with_roots)).await.err().unwrap().to_string();
    assert!(other.contains("certificate"), "it is of another name: {other}");
}
