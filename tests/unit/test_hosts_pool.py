"""Which sessions are kept."""

from pymta.delivery.pool import PoolLimits, SessionPool


def _pool(**limits: float) -> SessionPool[str]:
    return SessionPool(PoolLimits(**limits))  # type: ignore[arg-type]


def test_the_session_used_last_is_taken_first() -> None:
    pool = _pool()
    for session in ("a", "b"):
        assert pool.put("x", session, 0.0, 0.0, 1) == []
    assert [pool.take("x", 1.0), pool.take("x", 1.0), pool.take("x", 1.0)] == ["b", "a", None]
    assert pool.take("y", 1.0) is None
    assert len(pool) == 0


def test_an_idle_session_expires_and_is_not_handed_out() -> None:
    pool = _pool(idle=2.0)
    pool.put("x", "a", 0.0, 0.0, 1)
    assert pool.expired(1.9) == []
    assert pool.take("x", 2.0) is None
    assert pool.expired(2.0) == ["a"]
    assert len(pool) == 0


def test_age_and_uses_wear_a_session_out() -> None:
    pool = _pool(idle=2.0, age=300.0, uses=3)
    assert pool.put("x", "old", 300.0, 0.0, 1) == ["old"]
    assert pool.put("x", "used", 1.0, 0.0, 3) == ["used"]
    assert pool.put("x", "young", 299.0, 0.0, 2) == []
    # Its age ends before its idle time does.
    assert pool.take("x", 300.5) is None


def test_too_many_sessions_push_out_the_oldest() -> None:
    pool = _pool(sessions=2)
    assert pool.put("x", "a", 0.0, 0.0, 1) == []
    assert pool.put("y", "b", 0.0, 0.0, 1) == []
    assert pool.put("x", "c", 0.0, 0.0, 1) == ["a"]
    assert pool.take("x", 0.0) == "c"
    assert pool.take("x", 0.0) is None


def test_a_session_that_is_gone_is_forgotten() -> None:
    pool = _pool()
    pool.put("x", "a", 0.0, 0.0, 1)
    pool.remove("a")
    pool.remove("a")
    assert pool.take("x", 0.0) is None
    assert pool.clear() == []


def test_sessions_are_wanted_where_mail_is_dense() -> None:
    pool = _pool(idle=2.0)
    assert not pool.note_request("x", 0.0)
    assert pool.note_request("x", 1.0)
    assert not pool.note_request("x", 10.0)
    assert not pool.is_dense("x", 10.5, since=10.0)
    pool.note_request("x", 10.2)
    assert pool.is_dense("x", 10.5, since=10.0)
    assert not SessionPool[str](PoolLimits(), on_demand=False).note_request("x", 0.0)
