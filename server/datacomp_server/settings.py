"""Settings of the server and the dispatcher, read once from `DATACOMP_*` and validated all at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import platformdirs
from limits import parse as parse_rate
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from datacomp.logs import LogFormat
from datacomp.messages import Stage
from datacomp.problems import BadInput, Problem

EMBEDDED_SECRET = "embedded-mode-only"  # noqa: S105 - refused outside the embedded mode, see `check_secrets`
SHORTEST_SECRET = 24
DAY = 86_400.0
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class Mode(StrEnum):
    """`embedded`: one machine, SQLite, file broker. `production`: PostgreSQL, Redis, object storage."""

    EMBEDDED = "embedded"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Everything that an organiser may set. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_", extra="ignore", env_ignore_empty=True)

    mode: Mode = Mode.EMBEDDED
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("datacomp"))
    """Home of the embedded database, storage and broker."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in `data_dir`."""
    storage_url: str = ""
    """fsspec URL of the folder or bucket for uploads and outputs; empty: a folder in `data_dir`."""
    broker_url: str = "filesystem://"
    """Celery broker: `filesystem://` or `redis://...`."""
    broker_dir: Path | None = None
    """Folder of the file-system broker; default: in `data_dir`."""
    boards_file: Path | None = None
    """TOML description of the boards; without it the server keeps the boards it has."""
    published_table: bool = True
    """Whether the table of DataComp's paper that comes with this package is loaded beside boards of its scales."""

    pools_dir: Path | None = None
    """Holds one folder per pool, by name, as the workers' does: what pages tell of pools. Default: `<data_dir>/pools`.
    """
    preview_rows: int = Field(default=16_000_000, ge=0)
    """Rows of the largest pool that expressions are tried on in this process; 0: on none."""
    preview_seconds: float = Field(default=20, gt=0)
    """An expression that takes longer to try is given up."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    public_url: str = ""
    """Address that people use, for links in receipts; empty: made of `host` and `port`."""

    secret_key: SecretStr = SecretStr(EMBEDDED_SECRET)
    worker_token: SecretStr | None = None
    """When given, this token is provisioned (hashed) at start for a worker account."""
    organiser_token: SecretStr | None = None
    """When given, this token is provisioned (hashed) at start for an organiser account."""
    registration_open: bool = True
    session_days: float = Field(default=30, gt=0)
    sign_in_tries: int = Field(default=10, ge=1)
    """So many wrong passwords for a name lock it for `sign_in_lock_seconds`. Tokens and open sessions go on."""
    sign_in_lock_seconds: float = Field(default=900, gt=0)
    record_addresses: bool = True
    """Whether network addresses are kept with sessions and in the audit log."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses or networks, by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    rate_limits: bool = True
    rate_limit_url: str = ""
    """Where requests are counted; empty: the broker's Redis, or this process's memory where there is none."""
    rate_sign_in: str = "30/minute"
    """Per address: sign-in, registration, new tokens by password."""
    rate_anonymous: str = "600/minute"
    """Per address: the API without a token, and forms."""
    rate_token: str = "1200/minute"  # noqa: S105 - a rate
    """Per API token or browser session: the API."""
    rate_worker: str = "12000/minute"
    """Per API token: the workers' interface. All workers of a site may share one token."""

    github_client_id: str = ""
    """With `github_client_secret`: people may sign in with GitHub."""
    github_client_secret: SecretStr = SecretStr("")
    github_url: str = "https://github.com"
    """Of a GitHub Enterprise server."""
    github_api_url: str = "https://api.github.com"
    oidc_issuer: str = ""
    """With `oidc_client_id` and `oidc_client_secret`: people may sign in with this OpenID Connect provider."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_name: str = "single sign-on"
    """What the provider is called on the sign-in page."""

    webhooks: bool = False
    """Whether people may have addresses of theirs told when a submission ends."""
    webhook_private: bool = False
    """Whether such addresses may be private ones, and without TLS. Only where all participants are trusted."""
    smtp_host: str = ""
    """With `mail_from`: people may have mail when a submission ends."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    mail_from: str = ""
    notice_tries: int = Field(default=8, ge=1)
    """A notice is given up after so many tries."""
    notice_seconds: float = Field(default=30, gt=0)
    """Pause before a notice's second try; doubled for every further one, up to six hours."""
    notice_timeout: float = Field(default=10, gt=0)

    lease_seconds: float = Field(default=0, ge=0)
    """How long a claimed run stays with a silent worker. 0: 8 s embedded, 60 s in production."""
    heartbeat_seconds: float = Field(default=0, ge=0)
    """How often a worker reports. 0: 2 s embedded, 15 s in production."""
    max_attempts: int = Field(default=3, ge=1)
    ageing_seconds: float = Field(default=3600, gt=0)
    """A participant who waits this long without being served moves up by one step of priority."""
    ring_again_seconds: float = Field(default=5, gt=0)
    """The doorbell is rung again for queues whose runs nobody claimed for so long."""
    dispatch_seconds: float = Field(default=0.2, gt=0)
    """Pause of the dispatcher between two looks at the outbox."""
    upload_seconds: float = Field(default=86_400, gt=0)
    """An upload not confirmed after so long is cancelled, and its quota refunded."""
    queued_seconds: float = Field(default=30 * DAY, gt=0)
    """A run that no worker took up for so long fails, and its quota is refunded."""
    waiting_seconds: float = Field(default=DAY, gt=0)
    """How often it is looked whether a run still waits for a run that is not final."""
    validate_seconds: float = Field(default=DAY / 4, gt=0)
    """An attempt that validates for longer is ended and tried again. The same for the other stages:"""
    fetch_seconds: float = Field(default=4 * DAY, gt=0)
    decontaminate_seconds: float = Field(default=DAY, gt=0)
    filter_seconds: float = Field(default=2 * DAY, gt=0)
    dedup_seconds: float = Field(default=2 * DAY, gt=0)
    subset_seconds: float = Field(default=2 * DAY, gt=0)
    train_seconds: float = Field(default=30 * DAY, gt=0)
    evaluate_seconds: float = Field(default=4 * DAY, gt=0)
    log_tail_bytes: int = Field(default=65_536, ge=1024)
    """How much of a run's log is kept."""
    event_poll_seconds: float = Field(default=0.3, gt=0)
    keep_leftovers_days: float = Field(default=7, ge=0)
    """How long files of attempts that came to nothing are kept after their run is over."""
    keep_notices_days: float = Field(default=90, ge=0)
    """Records of webhooks and mail that were delivered or given up."""
    keep_audit_days: float | None = Field(default=None, ge=1)
    """Lines of the audit log; None: for ever."""
    keep_checkpoints_days: float | None = Field(default=None, ge=0)
    """How long final checkpoints are kept, but for those of baselines. Default: for ever."""
    log_format: LogFormat | None = None
    """Default: text embedded, json in production."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_token: SecretStr | None = None
    """Bearer token of `/metrics`. Without one, metrics are open embedded and off in production."""
    board_cache_seconds: float = Field(default=-1, ge=-1)
    """How old a leaderboard may be that readers are shown. -1: 0 s embedded, 5 s in production."""

    @model_validator(mode="after")
    def fill_defaults(self) -> Self:
        """Derive what depends on `mode` and `data_dir`."""
        embedded = self.mode is Mode.EMBEDDED
        self.data_dir = self.data_dir.expanduser().absolute()
        self.database_url = self.database_url or f"sqlite:///{self.data_dir / 'datacomp.sqlite3'}"
        if self.database_url.startswith(("postgres://", "postgresql://")):
            self.database_url = "postgresql+psycopg://" + self.database_url.split("://", 1)[1]
        self.storage_url = self.storage_url or f"file://{self.data_dir / 'storage'}"
        self.broker_dir = (self.broker_dir or self.data_dir / "broker").expanduser().absolute()
        self.lease_seconds = self.lease_seconds or (8 if embedded else 60)
        self.heartbeat_seconds = self.heartbeat_seconds or (2 if embedded else 15)
        self.log_format = self.log_format or (LogFormat.TEXT if embedded else LogFormat.JSON)
        if self.board_cache_seconds < 0:
            self.board_cache_seconds = 0 if embedded else 5
        shown = "127.0.0.1" if self.host in ANY_ADDRESS else self.host
        self.public_url = (self.public_url or f"http://{shown}:{self.port}").rstrip("/")
        return self

    @model_validator(mode="after")
    def check_lease(self) -> Self:
        """A lease must survive one lost heartbeat."""
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds")
        return self

    @model_validator(mode="after")
    def check_secrets(self) -> Self:
        """Outside the embedded mode every secret must be set and long."""
        if self.mode is Mode.EMBEDDED:
            return self
        weak = [
            name
            for name, secret in (
                ("secret_key", self.secret_key),
                ("worker_token", self.worker_token),
                ("organiser_token", self.organiser_token),
                ("metrics_token", self.metrics_token),
            )
            if secret is not None and len(secret.get_secret_value()) < SHORTEST_SECRET
        ]
        if weak:
            names = ", ".join(f"DATACOMP_{name.upper()}" for name in weak)
            raise ValueError(f"outside the embedded mode these need at least {SHORTEST_SECRET} characters: {names}")
        return self

    @model_validator(mode="after")
    def check_rates(self) -> Self:
        """Rates must be readable, such as `30/minute`."""
        for name in ("rate_sign_in", "rate_anonymous", "rate_token", "rate_worker"):
            try:
                parse_rate(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"DATACOMP_{name.upper()}: {error}; write for instance 30/minute") from error
        return self

    @model_validator(mode="after")
    def check_providers(self) -> Self:
        """What belongs together must be given together."""
        for names in (
            ("github_client_id", "github_client_secret"),
            ("oidc_issuer", "oidc_client_id", "oidc_client_secret"),
            ("smtp_host", "mail_from"),
        ):
            given = [name for name in names if _text(getattr(self, name))]
            if given and len(given) < len(names):
                missing = ", ".join(f"DATACOMP_{name.upper()}" for name in names if name not in given)
                raise ValueError(f"with DATACOMP_{given[0].upper()} these are needed too: {missing}")
        return self

    @property
    def mail(self) -> bool:
        """Whether mail can be sent."""
        return bool(self.smtp_host)

    @property
    def limits_url(self) -> str:
        """Where requests are counted."""
        shared = self.broker_url if self.broker_url.startswith(("redis://", "rediss://")) else "memory://"
        return self.rate_limit_url or shared

    @property
    def cookie_secure(self) -> bool:
        """Whether cookies are sent over HTTPS only."""
        return self.public_url.startswith("https://")

    def running_seconds(self, stage: Stage) -> float:
        """How long one attempt at a stage may take."""
        seconds: float = getattr(self, f"{stage.value}_seconds")
        return seconds

    @property
    def worker_alive_seconds(self) -> float:
        """A worker is live when it was seen within three heartbeats."""
        return 3 * self.heartbeat_seconds


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment; those given as not None override it. `BadInput` lists all that is wrong."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise BadInput(
            *(
                Problem(
                    code="setting-invalid",
                    message=str(item["msg"]),
                    where=f"DATACOMP_{str(item['loc'][0]).upper()}" if item["loc"] else None,
                    hint="see docs/run-your-own.md",
                )
                for item in error.errors()
            )
        ) from error
