"""Several addresses of one RabbitMQ cluster in one setting: taken apart, checked, shown without passwords."""

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from shared.platform.addresses import BrokerAddresses, broker_addresses, masked, place_of

ONE, TWO, THREE = (f"amqp://identity:geheim{number}@rabbit{number}:5672/" for number in (1, 2, 3))
taken = TypeAdapter[SecretStr](BrokerAddresses)


@pytest.mark.parametrize("between", [",", ", ", " ,\n  "])
def test_addresses_are_taken_apart(between: str) -> None:
    assert broker_addresses(between.join([ONE, TWO, THREE])) == [ONE, TWO, THREE]


@pytest.mark.parametrize(
    "value",
    [
        ONE,
        "amqps://identity:a,b@rabbit1/?cafile=/etc/ca.pem",  # a comma in a password, as before
        f"{ONE},{TWO},{THREE}",
        "amqp://u:p@rabbit1,amqp://u:p@rabbit2/",
        "amqp://u:p@rabbit1/prod,amqps://u:p@rabbit2/prod",
        "amqp://u:p@[::1]:5672/,amqp://u:p@[::1]:5673/",
    ],
)
def test_these_are_taken_as_they_are(value: str) -> None:
    assert taken.validate_python(value).get_secret_value() == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"{ONE},amqp://identity:a/b@rabbit2:5672/", r"address 2 of 2 .*: .*written as %40 %2F"),
        (
            f"{ONE},{TWO},amqp://identity:geheim@rabbit3:five/",
            r"address 3 of 3 \(rabbit3:five\): write amqp://",
        ),
        (f"{ONE},amqp://identity:geheim@/", "address 2 of 2: write amqp://"),
        (f"{ONE},{ONE}", r"address 2 of 2 \(rabbit1:5672\): it is there twice"),
        (f"{ONE},{TWO}other", r"address 2 of 2 \(rabbit2:5672\): all addresses have the same virtual host"),
        (f"{ONE},rabbit2:5672", "write amqp://"),
        ("amqp://identity:geheim@rabbit1:5672,rabbit2:5672/", "write amqp://"),
        ("postgresql://identity:geheim@db.example/", "write amqp://"),
        ("rabbit1", "write amqp://"),
    ],
)
def test_a_wrong_one_is_named_and_no_password_is_shown(value: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as raised:
        taken.validate_python(value)
    [fault] = raised.value.errors(include_input=False, include_url=False)
    assert "geheim" not in fault["msg"]
    assert "a/b" not in fault["msg"]


def test_every_password_is_masked_and_every_place_is_shown() -> None:
    shown = masked(f"{ONE}, {TWO},{THREE}")
    assert "geheim" not in shown
    assert [place_of(each) for each in broker_addresses(shown)] == [f"rabbit{n}:5672" for n in (1, 2, 3)]
