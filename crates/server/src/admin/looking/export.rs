//! The metrics in the text format of Prometheus, as `/metrics` serves them.

use super::survey::AGES;
use crate::{
    admin::{Admin, AdminError},
    limits::metrics::{MEDIA_TYPE, MetricsText, definitions as metric},
};
use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use posta_store::ObjectFigures;

/// The microseconds in a second.
const SECOND: f64 = 1e6;

/// Serves the metrics.
pub(crate) async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics().await {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Admin {
    /// Returns the metrics of the running server and its store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn metrics(&self) -> Result<String, AdminError> {
        let mut text = MetricsText::default();
        text.value(&metric::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        if let Some(running) = &self.running {
            text.value(&metric::STARTED, &[], running.started.as_second());
            running.metrics.write(&mut text);
        }
        text.value(&metric::LOCKOUTS, &[], self.lockouts().len());
        let store = self.store.figures();
        text.histogram(&metric::SYNC_SECONDS, &store.syncs, SECOND);
        text.histogram(&metric::GROUP_REQUESTS, &store.groups, 1.0);
        write_objects(&store.objects.unwrap_or_default(), &mut text);
        self.write_queue(&mut text).await?;
        for certificate in self.certificates() {
            let file = certificate.file.display().to_string();
            let expires = certificate.expires.as_second();
            text.value(&metric::CERTIFICATES, &[("certificate", &file)], expires);
        }
        if let Some(disk) = self.disk() {
            text.value(&metric::DISK_FREE, &[], disk.free);
            text.value(&metric::DISK_SIZE, &[], disk.size);
        }
        let sources = self.sources_summary().await?;
        text.value(&metric::SOURCES, &[("state", "ok")], sources.count - sources.failing);
        text.value(&metric::SOURCES, &[("state", "failing")], sources.failing);
        let backup = self.last_backup().await?;
        text.value(&metric::BACKUP, &[], backup.map_or(0, |backup| backup.at.as_second()));
        Ok(text.finish())
    }

    async fn write_queue(&self, text: &mut MetricsText) -> Result<(), AdminError> {
        let queue = self.surveys.survey(&*self.store, &*self.clock).await?;
        for line in &queue.states {
            for ((_, age), items) in AGES.iter().zip(line.ages) {
                text.value(&metric::QUEUE_ITEMS, &[("state", &line.state), ("age", age)], items);
            }
        }
        for line in &queue.states {
            let age =
                line.oldest.map_or(0, |oldest| self.clock.now().as_second() - oldest.as_second());
            text.value(&metric::QUEUE_OLDEST, &[("state", &line.state)], age.max(0));
        }
        Ok(())
    }
}

fn write_objects(objects: &ObjectFigures, text: &mut MetricsText) {
    for (result, count) in [
        ("put", objects.put),
        ("got", objects.got),
        ("removed", objects.removed),
        ("listed", objects.listed),
        ("failed", objects.failed),
    ] {
        text.value(&metric::OBJECT_REQUESTS, &[("result", result)], count);
    }
    text.histogram(&metric::OBJECT_SECONDS, &objects.times, SECOND);
    text.value(&metric::OBJECTS_AWAY, &[], u8::from(objects.away.is_some()));
    text.value(&metric::OBJECTS_MISSING, &[], objects.missing);
}
