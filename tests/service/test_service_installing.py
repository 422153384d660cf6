"""Installing the service: into a folder for real, onto a system as far as a fake systemctl goes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgevad.cli.app import build_app
from edgevad.errors import ConfigError, EdgevadError, OptionError, ServiceError
from edgevad.service import installing, reach

CONFIG = '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'
UNIT = Path("etc/systemd/system/edgevad.service")
SYSUSERS = Path("etc/sysusers.d/edgevad.conf")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "etc/edgevad").mkdir(parents=True)
    (root / "etc/edgevad/edgevad.toml").write_text(CONFIG)
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\nrender:x:104:\ngpio:x:997:\n")
    return root


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(build_app(), ["service", *map(str, arguments)])
    if isinstance(done.exception, EdgevadError):
        return 2, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def unit_of(image: Path) -> str:
    path, command = Path("/etc/edgevad/edgevad.toml"), ("/opt/edgevad/bin/edgevad",)
    return installing.plan_installation(path, root=image, command=command).files[image / UNIT]


def open_to_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `folder` lay where everybody may go: pytest's are closed to others."""
    lets = reach._lets
    above = (folder, *folder.parents)
    monkeypatch.setattr(reach, "_lets", lambda place, others: place in above or lets(place, others))


def test_an_image_gets_unit_and_user_and_is_enabled(image: Path, systemctl: Path) -> None:
    code, out = call("install", "--root", image, "--executable", "/opt/edgevad/bin/edgevad", "--memory-max", "2G")
    assert code == 0
    assert f"Wrote {image / UNIT}" in out
    text = (image / UNIT).read_text()
    # Paths are those of the image's own system.
    assert "ExecStart=/opt/edgevad/bin/edgevad run --config /etc/edgevad/edgevad.toml\n" in text
    assert "SupplementaryGroups=video render\n" in text
    assert "MemoryMax=2G\n" in text
    assert (image / UNIT).stat().st_mode & 0o777 == 0o644
    assert (image / SYSUSERS).read_text().splitlines()[1].startswith("u edgevad - ")
    assert (systemctl / "asked").read_text().splitlines()[-1] == f"systemctl --root={image} enable edgevad.service"

    code, out = call("uninstall", "--root", image)
    assert code == 0
    assert not (image / UNIT).exists()
    assert not (image / SYSUSERS).exists()
    assert (image / "etc/edgevad/edgevad.toml").exists()
    assert call("uninstall", "--root", image) == (2, f"{image / UNIT}: the service is not installed")


def test_groups_of_pins_and_buses_are_joined_for_plug_ins_alone(image: Path) -> None:
    path = image / "etc/edgevad/edgevad.toml"
    text = str(installing.plan_installation(path, root=image).files[image / UNIT])
    assert "SupplementaryGroups=video render\n" in text
    path.write_text(CONFIG + "[plugins.gpio]\npin = 7\n")
    text = str(installing.plan_installation(path, root=image).files[image / UNIT])
    assert "SupplementaryGroups=video render gpio\n" in text


def test_dry_run_shows_everything_and_does_nothing(image: Path, systemctl: Path) -> None:
    before = sorted(image.rglob("*"))
    code, out = call("install", "--root", image, "--dry-run")
    assert code == 0
    assert "Type=notify" in out
    assert f"# would run: systemctl --root={image} enable edgevad.service" in out
    assert sorted(image.rglob("*")) == before


def test_a_bad_configuration_is_refused_before_anything_is_written(image: Path, systemctl: Path) -> None:
    (image / "etc/edgevad/edgevad.toml").write_text(CONFIG + "colour = 3\n")
    with pytest.raises(ConfigError, match="colour is no setting here"):
        installing.plan_installation(Path("/etc/edgevad/edgevad.toml"), root=image)
    (image / "etc/edgevad/edgevad.toml").unlink()
    code, said = call("install", "--root", image)
    assert code == 2
    assert "no such file" in said
    assert "edgevad config example" in said
    assert not (image / UNIT).exists()


def test_a_limit_that_is_no_size_is_refused(image: Path) -> None:
    with pytest.raises(OptionError, match="2 gigs"):
        installing.plan_installation(Path("/etc/edgevad/edgevad.toml"), root=image, memory_max="2 gigs")


def test_only_root_may_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    plan = installing.Installation(Path("/"), {tmp_path / "unit": "x"}, ())
    with pytest.raises(ServiceError, match=r"only root may install the service\. Run: sudo .* service install"):
        plan.carry_out()
    with pytest.raises(ServiceError, match="only root may uninstall"):
        installing.uninstall()
    assert not (tmp_path / "unit").exists()


def test_on_a_system_the_user_is_made_and_the_service_started(
    tmp_path: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "check_reach", lambda path: None)
    config = tmp_path / "edgevad.toml"
    config.write_text(CONFIG)
    plan = installing.plan_installation(config)
    assert [" ".join(command) for command in plan.commands] == [
        "systemd-sysusers /etc/sysusers.d/edgevad.conf",
        "systemctl daemon-reload",
        "systemctl enable edgevad.service",
        "systemctl restart edgevad.service",
    ]
    assert "RestartSteps=4\n" in plan.files[Path("/") / UNIT]  # this systemd knows them
    assert f"ExecStart={installing.own_command()[0]} run --config {config}\n" in plan.files[Path("/") / UNIT]


def test_what_the_service_s_user_could_not_read_is_refused(tmp_path: Path, systemctl: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    config = private / "edgevad.toml"
    config.write_text(CONFIG)
    with pytest.raises(ServiceError, match="own user could not read it"):
        installing.plan_installation(config, command=("/bin/true",))


@pytest.mark.parametrize("key", ["[run]\nbundle", "[[webhook]]\nurl = 'http://h/x'\nsecret_file"])
def test_what_the_configuration_names_is_to_be_read_as_well(
    tmp_path: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    open_to_all(tmp_path, monkeypatch)
    named = tmp_path / "named"
    config = tmp_path / "edgevad.toml"
    config.write_text(f'{CONFIG}{key} = "{named}"\n')
    with pytest.raises(ServiceError, match="there is no such file"):
        installing.plan_installation(config, command=("/bin/true",))
    named.write_text("x")
    named.chmod(0o640)
    with pytest.raises(ServiceError, match=r"own user could not read it.* chgrp edgevad .*named"):
        installing.plan_installation(config, command=("/bin/true",))
    # The group's, as docs/service.md wants it for secrets.
    monkeypatch.setattr(reach.grp, "getgrgid", lambda number: ("edgevad",))
    assert installing.plan_installation(config, command=("/bin/true",)).commands


def test_homes_are_seen_where_anything_named_lies_in_one(image: Path) -> None:
    path = image / "etc/edgevad/edgevad.toml"
    assert "ProtectHome=yes\n" in unit_of(image)
    for text in ('[run]\nbundle = "/home/nvidia/car.edgevad"\n', '[events]\ndir = "/home/nvidia/events"\n'):
        path.write_text(CONFIG + text)
        assert "ProtectHome=read-only\n" in unit_of(image)


def test_folders_that_are_written_to_are_made_or_looked_at(
    tmp_path: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all(tmp_path, monkeypatch)
    config = tmp_path / "edgevad.toml"
    config.write_text(CONFIG + '[events]\ndir = "kept"\n[drives]\ndir = "/var/lib/edgevad/drives"\n')
    plan = installing.plan_installation(config, command=("/bin/true",))
    assert [command for command in plan.commands if command[0] == "install"] == [
        ("install", "-d", "-m", "0750", "-o", "edgevad", "-g", "edgevad", str(tmp_path / "kept"))
    ]
    (tmp_path / "kept").mkdir(mode=0o755)
    with pytest.raises(ServiceError, match=r"could not write to it.* chmod g\+rwx .*kept"):
        installing.plan_installation(config, command=("/bin/true",))
    (tmp_path / "kept").chmod(0o777)
    plan = installing.plan_installation(config, command=("/bin/true",))
    assert not [command for command in plan.commands if command[0] == "install"]


def test_a_token_is_to_be_where_it_can_be_made(image: Path) -> None:
    path = image / "etc/edgevad/edgevad.toml"
    path.write_text(CONFIG + '[metrics]\ntoken_file = "/etc/edgevad/token"\n')
    with pytest.raises(ServiceError, match="could not make its token there"):
        unit_of(image)
    (image / "etc/edgevad/token").write_text("x")
    assert unit_of(image)
    path.write_text(CONFIG + '[metrics]\ntoken_file = "/var/lib/edgevad/token"\n')
    assert unit_of(image)


def test_paths_within_an_image_are_those_of_its_own_system(image: Path) -> None:
    (image / "etc/edgevad/edgevad.toml").write_text(
        CONFIG + '[events]\ndir = "kept"\n[[camera]]\nname = "old"\nsource = "old.mp4"\n'
    )
    assert "ReadWritePaths=-/etc/edgevad/kept\n" in unit_of(image)
    assert "RequiresMountsFor=/etc/edgevad/edgevad.toml /etc/edgevad/old.mp4 /etc/edgevad/kept\n" in unit_of(image)


def test_a_refusal_of_systemd_is_one_line(image: Path, systemctl: Path) -> None:
    (systemctl / "refuse").touch()
    code, said = call("install", "--root", image)
    assert code == 2
    assert "enable: Failed: access denied. Look at: journalctl" in said


def test_status_tells_what_systemd_says(systemctl: Path) -> None:
    answer = systemctl / "answer"
    answer.write_text(
        "LoadState=loaded\nActiveState=active\nSubState=running\nStatusText=2 cameras, 30.1 fps\nNRestarts=3\n"
        "MemoryCurrent=412000000\nMainPID=77\nSomethingElse=x\n"
    )
    code, out = call("status")
    assert code == 0
    assert "2 cameras, 30.1 fps" in out
    assert "412 MB" in out
    code, out = call("status", "--json")
    assert json.loads(out)["active"] is True
    assert json.loads(out)["NRestarts"] == "3"
    assert "SomethingElse" not in out
    answer.write_text("LoadState=loaded\nActiveState=failed\nResult=watchdog\nMemoryCurrent=[not set]\n")
    code, out = call("status")
    assert code == 3
    assert "watchdog" in out
    answer.write_text("LoadState=not-found\nActiveState=inactive\n")
    code, out = call("status")
    assert (code, out) == (3, "The service is not installed. Run: sudo edgevad service install\n")


def test_status_without_systemd_is_one_line(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "has_systemd", lambda: False)
    code, said = call("status")
    assert code == 2
    assert "systemd does not run here" in said


UNITS = Path("etc/systemd/system")


def test_a_timer_that_refits_is_installed_kept_and_taken_off(image: Path, systemctl: Path) -> None:
    timer, service = image / UNITS / "edgevad-refit.timer", image / UNITS / "edgevad-refit.service"
    program = ("--root", image, "--executable", "/opt/edgevad/bin/edgevad")
    assert call("install", *program)[0] == 0
    assert not timer.exists()
    assert call("install", *program, "--refit", "weekly")[0] == 0
    assert "OnCalendar=weekly\n" in timer.read_text()
    assert "ExecStart=/opt/edgevad/bin/edgevad refit --config /etc/edgevad/edgevad.toml\n" in service.read_text()
    asked = (systemctl / "asked").read_text().splitlines()
    assert asked[-1] == f"systemctl --root={image} enable edgevad.service edgevad-refit.timer"
    # A new version is installed as the first one was: that changes no schedule.
    service.write_text("of the version before")
    assert call("install", *program)[0] == 0
    assert "OnCalendar=weekly\n" in timer.read_text()
    assert "Nice=19\n" in service.read_text()
    code, out = call("install", *program, "--refit", "never", "--dry-run")
    assert code == 0
    assert f"# would remove {timer}\n" in out
    assert timer.exists()
    code, out = call("install", *program, "--refit", "never")
    assert code == 0
    assert f"Removed {timer}\n" in out
    assert not timer.exists()
    assert not service.exists()
    assert f"systemctl --root={image} disable edgevad-refit.timer" in (systemctl / "asked").read_text().splitlines()
    assert call("install", *program, "--refit", "daily")[0] == 0
    assert call("uninstall", "--root", image)[0] == 0
    assert not timer.exists()
    assert not service.exists()


def test_a_schedule_that_there_is_not_is_refused(image: Path) -> None:
    code, said = call("install", "--root", image, "--refit", "hourly")
    assert (code, said) == (2, "refit 'hourly'; expected one of daily, weekly, monthly, never")


def test_status_tells_of_the_timer(systemctl: Path) -> None:
    answer = systemctl / "answer"
    answer.write_text(
        "LoadState=loaded\nActiveState=active\nResult=success\nNextElapseUSecRealtime=Mon 2026-11-30 00:00:00 UTC\n"
    )
    code, out = call("status")
    assert code == 0
    assert "Mon 2026-11-30" in out
    refit = json.loads(call("status", "--json")[1])["refit"]
    assert refit["NextElapseUSecRealtime"] == "Mon 2026-11-30 00:00:00 UTC"
    answer.write_text("LoadState=not-found\nActiveState=inactive\n")
    assert json.loads(call("status", "--json")[1])["refit"] is None
