"""The local stack's file of home libraries, and the credentials that it names."""

USERNAME = "landelijk-lenen"
PASSWORD = "alleen-op-deze-machine"  # noqa: S105 - lets a demo into a demo, on 127.0.0.1

HOME_LIBRARY_ENVIRONMENT = {
    "REGISTRATION_HOME_LIBRARY_USERNAME": USERNAME,
    "REGISTRATION_HOME_LIBRARY_PASSWORD": PASSWORD,
}
"""The variables that the file below names; they belong in `registration.env`."""

_NOBODY_LISTENS = 1
"""A privileged port (tcpmux) that no machine of today serves: connecting is refused at once."""

_TEMPLATE = """\
# Where home libraries are asked. Credentials stand in the environment: the *_env keys name the variables.

[libraries.NL-070288]
name = "Thuisbibliotheek (demo)"
host = "127.0.0.1"
port = {sip_port}
username_env = "REGISTRATION_HOME_LIBRARY_USERNAME"
password_env = "REGISTRATION_HOME_LIBRARY_PASSWORD"
institution = "NL-070288"
location = "Landelijk Lenen"
encoding = "cp850"
expiry_field = "PA"
birth_date_field = "PB"
patron_type_field = "PC"
guest_patron_types = ["GAST"]
connections = 8

[libraries.NL-083424]
name = "Bibliotheekservice Fryslân (demo)"
host = "127.0.0.1"
port = {sip_port}
username_env = "REGISTRATION_HOME_LIBRARY_USERNAME"
password_env = "REGISTRATION_HOME_LIBRARY_PASSWORD"
institution = "NL-083424"
location = "Landelijk Lenen"
encoding = "utf-8"
expiry_field = "PA"
birth_date_field = "PB"
patron_type_field = "PC"
guest_patron_types = ["GAST"]
connections = 8

# Always down.
[libraries.NL-999999]
name = "Bibliotheek die er niet is (demo)"
host = "127.0.0.1"
port = {nobody_listens}
connect_seconds = 1.0
"""


def home_libraries_toml(sip_port: int) -> str:
    """The content of `REGISTRATION_HOME_LIBRARIES` for a demo home library on this port of 127.0.0.1."""
    return _TEMPLATE.format(sip_port=sip_port, nobody_listens=_NOBODY_LISTENS)
