//! A listening socket and the clients on it.

use super::{
    forward::{self, Origin},
    routes::Routes,
    switch::Switch,
    timer::Timer,
};
use interlock_wire::{Service, headers};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the clients of one listening socket share.
pub struct Listener {
    /// Where their requests go.
    pub routes: Arc<Routes>,
    /// The one service of this socket, whatever host is asked for; set for rehearsals.
    pub only: Option<Arc<Switch>>,
    /// Ends connections after the request they are at.
    pub stop: CancellationToken,
    /// The connections.
    pub clients: TaskTracker,
    places: Arc<Semaphore>,
}

impl Listener {
    /// Returns a listener for at most so many clients at a time; more wait in the kernel's queue.
    pub fn new(routes: Arc<Routes>, only: Option<Arc<Switch>>, most: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(most));
        Arc::new(Listener { routes, only, stop: CancellationToken::new(), clients: TaskTracker::new(), places })
    }

    /// Accepts clients for ever.
    pub async fn accept(self: Arc<Self>, socket: TcpListener) {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
            match socket.accept().await {
                Ok((stream, client)) => {
                    let listener = self.clone();
                    self.clients.spawn(async move {
                        connection(listener, stream, client).await;
                        drop(place);
                    });
                }
                Err(err) => {
                    // Out of files, mostly: some will be free again soon.
                    tracing::warn!("cannot accept a connection: {err}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(listener: Arc<Listener>, stream: TcpStream, client: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let stop = listener.stop.clone();
    let forwarded_for = headers::address_of(client.ip());
    let origin = Arc::new(Origin { listener, client, forwarded_for, timer: Timer::default(), ear: Arc::default() });
    let service: Service = Arc::new(move |request| Box::pin(forward::serve(origin.clone(), request)));
    interlock_wire::serve(stream, stop, service).await;
}
