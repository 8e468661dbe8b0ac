from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from handler.batch.claims import Claim, Claims, NoClaims, _name
from handler.batch.heartbeat import own_identity
from handler.batch.jobs import Shard
from handler.batch.ledger import open_ledger
from handler.contract.errors import ConfigurationError, EventError, StorageError
from handler.shelf import BucketAddress, BucketShelf, FolderShelf, selection


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderShelf(tmp_path)
    client, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return BucketShelf(client, bucket, prefix="batch")


@pytest.fixture
def worker(store):
    """Start workers; ``elsewhere`` makes one of another machine, ``silent`` one that does not beat.

    A worker of this machine would be known to live by its process.
    """
    started = []

    def start(*, lease: float = 60.0, elsewhere: bool = False, silent: bool = False) -> Claims:
        claims = Claims(store, "claims/", lease)
        if elsewhere:
            claims._heartbeat._process = None
        if silent:
            claims._heartbeat.beat(0)
        else:
            claims.start()
            started.append(claims)
        return claims

    yield start
    for claims in started:
        claims.close()


def wait_until(condition, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_job_is_claimed_by_one_only(worker):
    one, other = worker(), worker()
    assert one.take("job").lost == 0
    assert other.take("job") is None
    assert other.take("another job").generation == 1


def test_of_many_that_try_at_once_one_gets_each_job(tmp_path):
    # Not on moto: it looks whether the key is there, then writes, with nothing to keep others out.
    workers = [Claims(FolderShelf(tmp_path), "claims/", 60) for _ in range(4)]
    taken: Counter[str] = Counter()

    def take(claims: Claims) -> None:
        for number in range(20):
            if claims.take(f"job-{number}"):
                taken[f"job-{number}"] += 1

    threads = [threading.Thread(target=take, args=(claims,)) for claims in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == {f"job-{number}": 1 for number in range(20)}


def test_job_that_was_given_back_is_free_and_counts_as_no_loss(worker):
    one, other = worker(), worker()
    one.give_back(one.take("job"))
    claim = other.take("job")
    assert (claim.generation, claim.lost) == (2, 0)
    assert one.take("job") is None


def test_job_of_a_process_of_this_machine_that_is_gone_is_taken_over_at_once(store, worker):
    identity = "from handler.batch.heartbeat import own_identity as o; print(o().pid, o().started)"
    done = subprocess.run(
        [sys.executable, "-c", identity], capture_output=True, text=True, check=True, timeout=60
    )
    pid, started = map(int, done.stdout.split())
    dead = worker(silent=True)
    dead._heartbeat._process = own_identity().model_copy(update={"pid": pid, "started": started})
    dead._heartbeat.beat(1)
    assert dead.take("job")
    claim = worker().take("job")
    assert (claim.generation, claim.lost) == (2, 1)


def test_job_of_a_worker_elsewhere_is_taken_over_when_its_lease_has_run_out(worker):
    dead, heir = worker(lease=0.5, elsewhere=True, silent=True), worker()
    held = dead.take("job")
    began = time.monotonic()
    assert heir.take("job") is None
    assert dead.still_held(held)
    wait_until(lambda: heir.take("job") is not None)
    assert time.monotonic() - began >= 0.5
    assert not dead.still_held(held)


@pytest.mark.slow
def test_job_of_a_living_worker_elsewhere_is_left_alone(worker):
    living, watcher = worker(lease=0.5, elsewhere=True), worker()
    held = living.take("job")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert watcher.take("job") is None
        time.sleep(0.05)
    assert living.still_held(held)


def test_of_those_that_watch_a_dead_worker_one_takes_over(worker):
    dead = worker(lease=0.2, elsewhere=True, silent=True)
    dead.take("job")
    heirs = [worker(), worker()]
    for heir in heirs:
        heir.take("job")
    time.sleep(0.3)
    assert sorted(heir.take("job") is None for heir in heirs) == [False, True]


def test_every_worker_that_died_with_a_job_is_counted(worker):
    for generation in (1, 2, 3):
        dead = worker(lease=0.1, elsewhere=True, silent=True)
        wait_until(lambda dead=dead: dead.take("job") is not None)
        assert dead._holders("job")[generation - 1].worker == dead._worker
    heir = worker()
    heir.take("job")
    time.sleep(0.15)
    assert heir.take("job").lost == 3


def test_only_what_was_on_the_device_of_a_dead_worker_is_suspected(worker):
    dead = worker(lease=0.1, elsewhere=True, silent=True)
    on_device, beside = dead.take("on the device"), dead.take("beside")
    dead.on_device(on_device)
    dead._heartbeat.beat(1)
    heir = worker()
    heir.take("beside")
    time.sleep(0.15)
    innocent = heir.take("beside", idle=False)
    assert (innocent.suspected, innocent.lost, innocent.lost_by_it) == (False, 1, 0)
    assert beside.generation == 1
    assert heir.take("on the device", idle=False) is None
    suspect = heir.take("on the device", idle=True)
    assert (suspect.suspected, suspect.lost, suspect.lost_by_it) == (True, 1, 0)


def test_of_a_dead_worker_that_named_no_job_all_are_suspected(worker):
    dead = worker(lease=0.1, elsewhere=True, silent=True)
    dead.take("one")
    heir = worker()
    heir.take("one")
    time.sleep(0.15)
    assert heir.take("one", idle=False) is None
    assert heir.take("one").suspected


def test_job_that_was_lost_twice_is_suspected_wherever_it_was(worker):
    heir = worker()
    for _ in range(2):
        dead = worker(lease=0.1, elsewhere=True, silent=True)
        wait_until(lambda dead=dead: dead.take("innocent"))
        dead.on_device(dead.take("another job") or Claim("another job", 1, 0))
        dead._heartbeat.beat(1)
    heir.take("innocent")
    time.sleep(0.15)
    assert heir.take("innocent", idle=False) is None
    assert heir.take("innocent").lost_by_it == 0


def test_only_who_dies_alone_with_a_job_dies_of_it(worker):
    for _ in range(2):
        dead = worker(lease=0.1, elsewhere=True, silent=True)
        wait_until(lambda dead=dead: dead.take("job"))
    heir = worker()
    heir.take("job")
    time.sleep(0.15)
    claim = heir.take("job")
    assert (claim.lost, claim.lost_by_it) == (2, 1)


def test_worker_that_a_job_broke_blames_it_and_not_what_waited_beside(worker):
    broken = worker(lease=0.1, elsewhere=True, silent=True)
    culprit, beside = broken.take("culprit"), broken.take("beside")
    broken.on_device(culprit)
    broken.blame(culprit)
    broken.blame(beside)
    heir = worker()
    assert heir.take("beside", idle=False).lost == 0
    heir.take("culprit")
    time.sleep(0.15)
    assert heir.take("culprit").lost_by_it == 1


def test_claims_and_heartbeats_of_an_earlier_version_are_read(store, worker):
    store.create("claims/" + _name("job", 1), b'{"worker":"old","given_back":false}')
    store.put("claims/workers/old", b'{"beat":3,"lease":0.1,"process":null}')
    heir = worker()
    assert heir.take("job") is None
    time.sleep(0.15)
    claim = heir.take("job")
    assert (claim.generation, claim.lost) == (2, 1)


def test_own_claim_whose_answer_was_lost_is_held(store, worker):
    claims = worker()
    assert claims.take("job")
    assert claims.take("job").lost == 0


def test_claim_whose_maker_died_before_he_wrote_his_name_is_taken_over(store, worker):
    store.create("claims/" + _name("job", 1), b"")
    heir = worker(lease=0.2)
    assert heir.take("job") is None
    wait_until(lambda: heir.take("job") is not None)


def test_cleared_claims_are_gone(store, worker):
    claims = worker()
    claims.take("job")
    claims.close()
    claims.clear()
    assert list(store.list()) == []
    assert worker().take("job").generation == 1


def test_folder_that_cannot_be_written_is_told(tmp_path, local_settings):
    (tmp_path / "file").write_text("a file")
    _, claims = open_ledger(local_settings, str(tmp_path / "file" / "july.jsonl"), 60, None)
    with pytest.raises(StorageError, match="--results"):
        claims.start()


def test_storage_that_lets_one_of_two_create_is_accepted(s3, bucket):
    Claims(BucketShelf(s3, bucket), "claims/", 60).check_exclusive()


class Lenient:
    """A storage that does not know the condition on a write."""

    def __init__(self, client) -> None:
        self._client = client

    def put_object(self, **arguments: object) -> object:
        arguments.pop("IfNoneMatch", None)
        return self._client.put_object(**arguments)


def test_storage_that_lets_both_create_is_refused(s3, bucket):
    with pytest.raises(ConfigurationError, match="--shard"):
        Claims(BucketShelf(Lenient(s3), bucket), "claims/", 60).check_exclusive()


def test_worker_with_a_share_of_its_own_does_without_claims_there(
    s3, bucket, bucket_settings, monkeypatch
):
    monkeypatch.setattr(selection, "s3_client", lambda _: Lenient(s3))
    address = f"s3://{bucket}/batch"
    with pytest.raises(ConfigurationError):
        open_ledger(bucket_settings, address, 60, None)
    _, claims = open_ledger(bucket_settings, address, 60, Shard(0, 2))
    assert isinstance(claims, NoClaims)
    claims.start()
    claim = claims.take("job")
    assert claims.still_held(claim)
    claims.give_back(claim)
    claims.close()
    claims.clear()


def test_worker_with_a_share_claims_all_the_same_where_it_can(bucket, bucket_settings):
    _, claims = open_ledger(bucket_settings, f"s3://{bucket}/batch", 60, Shard(0, 2))
    assert isinstance(claims, Claims)


def test_heartbeat_that_cannot_be_written_ends_no_worker(tmp_path, caplog):
    class Full(FolderShelf):
        """A folder that has no space left after the first file."""

        written = 0

        def put(self, key: str, data: bytes, **_) -> None:
            self.written += 1
            if self.written > 1:
                raise StorageError("The disk is full.")
            super().put(key, data)

    store = Full(tmp_path)
    claims = Claims(store, "claims/", lease=0.1)
    claims.start()
    wait_until(lambda: store.written > 3)
    claims.close()
    assert "heartbeat not written" in caplog.messages


@pytest.mark.parametrize("text", ["s3:bucket", "s3://", "s3:///key"])
def test_address_without_a_bucket_is_refused(text):
    with pytest.raises(EventError, match="s3://bucket/key"):
        BucketAddress.parse(text)
