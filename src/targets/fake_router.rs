//! The router in memory. Its second listener takes real connections, and hands them to what its own split says.

use super::{
    fake::{FakeWorld, Mischief, planted},
    *,
};
use std::net::Ipv4Addr;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What moves traffic between fake instances.
#[derive(Clone, Default)]
pub struct FakeRouter(pub FakeWorld);

#[async_trait]
impl Router for FakeRouter {
    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic_switch: true, drain_signal: true, measures: true, summary: "a router in memory".into() }
    }

    async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), RouterError> {
        let versions: Vec<String> = split.serving().map(|share| share.version.clone()).collect();
        let mischief = self.0.call(format!("set {}", versions.join(" "))).await;
        if let Some(mischief @ Mischief::Fail) = mischief {
            return Err(planted(mischief).into());
        }
        let mut world = self.0.lock();
        if epoch < world.router_epoch {
            return Err(RouterError::StaleEpoch { given: epoch, seen: world.router_epoch });
        }
        for version in &versions {
            if let Some(change) = world.when_serving.remove(version) {
                change(&mut world.samples);
            }
        }
        if world.split != *split {
            world.served.extend(versions);
        }
        (world.split, world.router_epoch, world.router_runs) = (split.clone(), epoch, true);
        mischief.map_or(Ok(()), |mischief| Err(planted(mischief).into()))
    }

    async fn observe(&self) -> Result<(Split, Epoch), RouterError> {
        let world = self.0.lock();
        Ok((world.split.clone(), world.router_epoch))
    }

    async fn drain(&self, instance: &InstanceId, _patience: Duration) -> Result<DrainReport, RouterError> {
        match self.0.call(format!("drain {instance}")).await {
            Some(mischief) => Err(planted(mischief).into()),
            None => Ok(DrainReport::default()),
        }
    }

    async fn probe(&self, _path: Option<&str>, _interval: Duration) -> Result<(), RouterError> {
        Ok(())
    }

    async fn stop(&self) -> Result<(), RouterError> {
        let mut world = self.0.lock();
        (world.split, world.router_runs) = (Split::default(), false);
        Ok(())
    }

    async fn hold(&self, patience: Duration, epoch: Epoch) -> Result<(), RouterError> {
        let waits = !patience.is_zero();
        let mischief = self.0.call(if waits { "hold".into() } else { "let through".into() }).await;
        if let Some(mischief @ Mischief::Fail) = mischief {
            return Err(planted(mischief).into());
        }
        let mut world = self.0.lock();
        if epoch < world.router_epoch {
            return Err(RouterError::StaleEpoch { given: epoch, seen: world.router_epoch });
        }
        world.held = waits;
        mischief.map_or(Ok(()), |mischief| Err(planted(mischief).into()))
    }

    async fn shadow(&self, split: &Split, epoch: Epoch, _patience: Duration) -> Result<SocketAddr, RouterError> {
        let versions: Vec<String> = split.serving().map(|share| share.version.clone()).collect();
        if let Some(mischief) = self.0.call(format!("rehearse {}", versions.join(" "))).await {
            return Err(planted(mischief).into());
        }
        let seen = self.0.lock().router_epoch;
        if epoch < seen {
            return Err(RouterError::StaleEpoch { given: epoch, seen });
        }
        Ok(moved(&self.0, split).await.map_err(anyhow::Error::from)?)
    }

    async fn close_shadow(&self, _epoch: Epoch) -> Result<(), RouterError> {
        close(&self.0);
        Ok(())
    }

    async fn measure(&self) -> Result<Samples, RouterError> {
        match self.0.lock() {
            world if world.is_blind => Err(anyhow::anyhow!("the router does not answer").into()),
            world => Ok(world.samples.clone()),
        }
    }
}

/// A second listener, open or not.
#[derive(Default)]
pub struct Shadow {
    split: Split,
    /// The version its traffic does not leave.
    pub stays_with: Option<String>,
    open: Option<(SocketAddr, JoinHandle<()>)>,
}

/// Moves its traffic, and opens it where it is not open; returns where it is.
async fn moved(world: &FakeWorld, split: &Split) -> std::io::Result<SocketAddr> {
    let (listener, hands) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, world.clone());
    let address = listener.local_addr()?;
    let mut world = world.lock();
    let shadow = world.shadow.get_or_insert_default();
    let is_stuck = shadow.split.serving().any(|share| Some(&share.version) == shadow.stays_with.as_ref());
    if !is_stuck {
        shadow.split = split.clone();
    }
    let open = shadow.open.get_or_insert_with(|| (address, tokio::spawn(hand_over(listener, hands))));
    Ok(open.0)
}

/// Closes it.
fn close(world: &FakeWorld) {
    if let Some((_, accepting)) = world.lock().shadow.as_mut().and_then(|shadow| shadow.open.take()) {
        accepting.abort();
    }
}

async fn hand_over(listener: TcpListener, world: FakeWorld) {
    let mut turn = 0;
    while let Ok((mut customer, _)) = listener.accept().await {
        let split = world.lock().shadow.as_ref().map(|shadow| shadow.split.clone()).unwrap_or_default();
        let serving: Vec<SocketAddr> = split.serving().map(|share| share.address).collect();
        turn += 1;
        let Some(address) = serving.get(turn % serving.len().max(1)).copied() else { continue };
        tokio::spawn(async move {
            if let Ok(mut instance) = TcpStream::connect(address).await {
                let _ = tokio::io::copy_bidirectional(&mut customer, &mut instance).await;
            }
        });
    }
}
