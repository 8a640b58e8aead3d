"""Keys and certificates: read while we are root, made where there are none, handed to services."""

from __future__ import annotations

import contextlib

from pymta.config import Config, build
from pymta.delivery.smtp_tls import ClientTls
from pymta.delivery.smtp_tls_settings import LmtpTlsSettings, SmtpTlsSettings
from pymta.errors import ConfigError
from pymta.ports import Clock, Log
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.tls_files import PemFiles
from pymta.runtime.tls_make import make_own_key, own_key_files
from pymta.smtpd.tls import ServerTls
from pymta.smtpd.tls_settings import SmtpdTlsSettings
from pymta.tables import TableFactory

FILES = (
    *(f"smtpd_tls_{kind}{what}_file" for kind in ("", "d", "ec") for what in ("cert", "key")),
    *(
        f"{client}_tls_{kind}{what}_file"
        for client in ("smtp", "lmtp")
        for kind in ("", "d", "ec")
        for what in ("cert", "key")
    ),
    *(f"{which}_tls_{what}" for which in ("smtpd", "smtp", "lmtp") for what in ("chain_files", "CAfile")),
)


def read_keys(config: Config) -> PemFiles:
    """Read the files that only root may read, while we are root. What cannot be read shows when it is needed."""
    files = PemFiles()
    for view in (config, *(config.for_service(service) for service in config.services)):
        for name in {one for parameter in FILES for one in view.items(parameter)}:
            with contextlib.suppress(ConfigError):
                files.read(name)
    return files


def client_tls(
    kind: str, config: Config, files: PemFiles, tables: TableFactory, clock: Clock, log: Log
) -> ClientTls | None:
    """TLS of one `smtp` or `lmtp` transport; None where nothing asks for it. Raises ConfigError."""
    settings = build(LmtpTlsSettings if kind == "lmtp" else SmtpTlsSettings, config)
    maps = settings.tls_policy_maps
    tls = ClientTls(settings, files, clock, log, kind, tables.maps(maps, f"{kind}_tls_policy_maps") if maps else None)
    return tls if tls.policies.may_use_tls or settings.tls_note_starttls_offer else None


def server_tls(config: Config, files: PemFiles, tables: TableFactory, clock: Clock, log: Log) -> ServerTls:
    """TLS of one smtpd service. Raises ConfigError."""
    settings = build(SmtpdTlsSettings, config)

    def make() -> tuple[str, str]:
        directory = SpoolPlaces.below(config.text("queue_directory")).root / "tls"
        certificate, key = own_key_files(directory)
        if make_own_key(directory, config.text("myhostname")):
            log.warning(
                f"no smtpd_tls_cert_file is set: made a certificate that nobody vouches for, {certificate}; "
                "mail clients will ask whether to trust it"
            )
        return str(certificate), str(key)

    maps = settings.tls_server_sni_maps
    names = tables.maps(maps, "tls_server_sni_maps") if maps else None
    return ServerTls(settings, files, clock, log, make_own_key=make, names=names)
