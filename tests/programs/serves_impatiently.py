"""The service, but a head that does not come ends its connection after a second and a half."""

from handoff import Settings, create_app
from handoff.cli.protocol import BoundedHttpProtocol
from handoff.cli.serve import run_server
from handoff.system import listen


class Impatient(BoundedHttpProtocol):
    """As `handoff serve` has it, but for a clock of twenty seconds."""

    head_timeout_s = 1.5


if __name__ == "__main__":
    chosen = Settings.load()
    app = create_app(chosen)
    with listen(chosen.host, chosen.port, "HANDOFF_PORT") as listener:
        run_server(app, chosen, listener, protocol=Impatient)
