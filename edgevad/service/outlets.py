"""Sections about where events and figures go: a broker, web servers, Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgevad.service.options import NAME, NAME_WORDS, VARIABLE, VARIABLE_WORDS, Section, option
from edgevad.service.secrets import read_secret, two_secrets

__all__ = ["MetricsConfig", "MqttConfig", "WebhookConfig"]

# A name of labels, none of them empty or longer than names may be; or an address, with colons where it is IPv6.
_HOST = r"(?!.{254})(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?)"
_HOST_WORDS = "the name or address of a machine"


@dataclass(frozen=True)
class MqttConfig(Section):
    """[mqtt], for `MqttSettings`"""

    host: str = option("Name or address of the broker.", pattern=_HOST, words=_HOST_WORDS, example="localhost")
    port: int = option("Its TCP port; with TLS usually 8883.", 1883, low=1, high=65535)
    username: str | None = option("User name at the broker.", None, example="car-17")
    password_file: Path | None = option("File that holds the password.", None, example="mqtt.password")
    password_env: str | None = option(
        "Or the environment variable that holds it.",
        None,
        pattern=VARIABLE,
        words=VARIABLE_WORDS,
        example="MQTT_PASSWORD",
    )
    tls: bool = option("Encrypt; the broker's certificate is verified.", False)
    ca_file: Path | None = option("Authorities (PEM) to trust; without it the system's.", None, example="broker-ca.pem")
    cert_file: Path | None = option("This vehicle's own certificate (PEM).", None, example="car-17.pem")
    key_file: Path | None = option("Its key (PEM).", None, example="car-17.key")
    prefix: str = option(
        "First level of all topics.",
        "edgevad",
        pattern=r"[^+#\s]*[^+#\s/][^+#\s]*",
        words="a name without +, # and blanks",
    )
    client_id: str | None = option(
        "Without it edgevad-<device>.", None, pattern=NAME, words=NAME_WORDS, example="car-17"
    )
    keepalive_s: int = option("Silent for 1.5 times as long, it is told to be gone.", 15, low=1, high=3600)
    score_every_s: float | None = option(
        "Publish each camera's anomaly score this often; without it never.", None, low=0.1, high=3600, example=1.0
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.events.mqtt_link import MqttSettings

        yield from two_secrets("password", self.password_file, self.password_env)
        if (self.password_file or self.password_env) and self.username is None:
            yield "username", "is missing beside the password"
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            yield "tls", "is false, and there are certificates. Set tls = true"
        if self.key_file is not None and self.cert_file is None:
            yield "cert_file", "is missing beside key_file"
        yield from self.refusals(MqttSettings)

    def secret(self) -> str | None:
        """The password. Raises ConfigError where it cannot be read."""
        return read_secret(self.password_file, self.password_env)


@dataclass(frozen=True)
class WebhookConfig(Section):
    """[[webhook]], for `WebhookSettings`"""

    url: str = option(
        "Address that events are posted to.",
        pattern=r"https?://[!-?A-~]+",
        words="http://... or https://... without a user, in ASCII",
        example="https://example.com/edgevad",
    )
    secret_file: Path | None = option("File that holds what messages are signed with.", None, example="webhook.secret")
    secret_env: str | None = option(
        "Or the environment variable that holds it.",
        None,
        pattern=VARIABLE,
        words=VARIABLE_WORDS,
        example="WEBHOOK_SECRET",
    )
    ca_file: Path | None = option("Authorities (PEM) to trust; without it the system's.", None, example="server-ca.pem")
    timeout_s: float = option("Of connecting, and of every wait for the server.", 10.0, above=0, high=600)
    name: str | None = option(
        "What it is called; without it webhook <host>.", None, pattern=NAME, words=NAME_WORDS, example="fleet"
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.events.webhook import WebhookSettings

        yield from two_secrets("secret", self.secret_file, self.secret_env)
        yield from self.refusals(WebhookSettings)

    def secret(self) -> str | None:
        """What messages are signed with. Raises ConfigError where it cannot be read."""
        return read_secret(self.secret_file, self.secret_env)


@dataclass(frozen=True)
class MetricsConfig(Section):
    """[metrics], for `MetricsSettings`"""

    host: str = option(
        "Address it listens at; this one lets in nobody from outside.", "127.0.0.1", pattern=_HOST, words=_HOST_WORDS
    )
    port: int = option("TCP port of the metrics page.", 9464, low=1, high=65535)
    token_file: Path | None = option(
        "File with the token that readers have to show, made where there is none; without it metrics.token in "
        "$EDGEVAD_HOME.",
        None,
        example="/var/lib/edgevad/metrics.token",
    )
