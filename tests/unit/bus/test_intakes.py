"""The table from the subjects of guarded stores to where their streams listen."""

from __future__ import annotations

from lattice.bus.intakes import Intakes

FAMILY, INTAKE = "$KV.lat_test_ctl.", "lat.test.intake.ctl.5ecre7."


def known() -> Intakes:
    intakes = Intakes()
    intakes.learn(FAMILY, INTAKE)
    return intakes


def test_what_is_meant_for_a_guarded_store_goes_to_its_intake():
    assert known().address("$KV.lat_test_ctl.target.h1") == f"{INTAKE}target.h1"


def test_everything_else_goes_where_it_says():
    for subject in ("$KV.lat_test_hosts.h1", "$KV.lat_test_ctl2.a", "lat.test.evt.a", INTAKE[:-1]):
        assert known().address(subject) == subject


def test_an_error_names_the_subject_and_never_the_intake():
    for address in (f"{INTAKE}target.h1", f"{INTAKE}target.h1".lower()):
        assert known().subject(address) == f"{FAMILY}target.h1"
    assert known().subject("lat.test.evt.A") == "lat.test.evt.A"


def test_what_was_forgotten_is_asked_again():
    intakes = known()
    assert intakes.knows(FAMILY)
    intakes.forget()
    assert not intakes.knows(FAMILY)
    assert intakes.address("$KV.lat_test_ctl.a") == "$KV.lat_test_ctl.a"
