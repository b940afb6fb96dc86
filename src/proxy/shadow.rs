//! A second listener on this machine alone, with a split of its own: the way there and back is tried on it while customers notice nothing.

use super::{listener::Listener, routes::Routes, state::Service, switch::Switch};
use interlock_model::{Epoch, Split};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep_until},
};

/// The longest it stays open without being asked again.
const LONGEST: Duration = Duration::from_secs(600);

/// The most clients at a time: a rehearsal needs few.
const MOST_CLIENTS: usize = 64;

/// An open second listener; closed when dropped.
pub struct Shadow {
    /// Where it is.
    pub address: SocketAddr,
    /// By which right it was opened.
    pub epoch: Epoch,
    switch: Arc<Switch>,
    listener: Arc<Listener>,
    until: watch::Sender<Instant>,
}

impl Shadow {
    /// Opens one for a service; it closes by itself unless `change` is called in time.
    pub async fn open(routes: &Arc<Routes>, service: &str, epoch: Epoch, patience: Duration) -> std::io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let switch = Arc::new(Switch::new(service));
        let listener = Listener::new(routes.clone(), Some(switch.clone()), MOST_CLIENTS);
        let until = watch::Sender::new(Instant::now() + patience.min(LONGEST));
        tokio::spawn(run(listener.clone(), socket, until.subscribe(), Arc::downgrade(routes), service.to_owned()));
        Ok(Shadow { address, epoch, switch, listener, until })
    }

    /// Puts a split in force on it, and lets it live on.
    pub fn change(&self, split: &Split, rules: &Service, patience: Duration) {
        self.until.send_replace(Instant::now() + patience.min(LONGEST));
        self.switch.rules.rcu(|before| {
            let mut rules_now = (**before).clone();
            rules_now.stickiness = rules.stickiness.clone();
            rules_now
        });
        self.switch.install(split);
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.listener.stop.cancel();
    }
}

async fn run(listener: Arc<Listener>, socket: TcpListener, mut until: watch::Receiver<Instant>, routes: Weak<Routes>, service: String) {
    let stop = listener.stop.clone();
    let address = socket.local_addr().ok();
    let accepting = listener.accept(socket);
    tokio::pin!(accepting);
    loop {
        let end = *until.borrow_and_update();
        tokio::select! {
            () = accepting.as_mut() => return,
            () = stop.cancelled() => return,
            // Its owner is gone when nobody can prolong it any more.
            changed = until.changed() => if changed.is_err() { return },
            () = sleep_until(end) => break,
        }
    }
    let Some(routes) = routes.upgrade() else { return };
    let mut shadows = routes.shadows.lock().expect("nothing panics here");
    if shadows.get(&service).map(|shadow| shadow.address) == address {
        tracing::warn!("closed the rehearsal's listener of `{service}`: nobody asked for it any more");
        shadows.remove(&service);
    }
}
