"""Sentences for a runner in place of reason codes."""

# Codes are those of cleaning and of the import; one that is missing here is shown by its own message.
SENTENCES = {
    # dropped
    "not_running": "another sport than running",
    "sport_not_named": "the file names no sport; if it is a run, upload it again with sport=running",
    "ride": "called a run, but too fast or too uneven for one: a ride",
    "no_speed": "no moving speed was recorded",
    "implausible_speed": "a speed that is not that of running",
    "walk": "a walk",
    "too_short": "under 10 minutes of recorded time",
    "no_heart_rate": "no heart rate was recorded",
    "sparse_heart_rate": "fewer than {minimum:g} heart-rate readings a minute",
    "faulty_heart_rate": "most of the heart rate is a sensor's fault",
    "duplicate": "recorded twice; the better recording stays",
    "not_listed": "too many to list each with its reason",
    # repaired
    "bad_time": "samples without a usable time",
    "clock_fault": "samples whose clock was wrong",
    "time_order": "samples out of the order of their times",
    "other_unit": "a speed or distance in another unit",
    "too_long": "recording longer than a day; the rest left out",
    "forgotten_stop": "recording went on after the run",
    "speed_impossible": "impossible speeds",
    "speed_jump": "leaps of the speed (jumping positions)",
    "altitude_impossible": "leaps of the altitude",
    "heart_rate_impossible": "impossible heart rates",
    "heart_rate_spike": "heart rate that leapt up and back",
    "heart_rate_dropout": "heart rate that fell and came back",
    "heart_rate_held": "heart rate that stood still",
    "heart_rate_start": "heart rate found only after a while",
    "cadence_lock": "heart rate that followed the steps",
    "standing_pause": "heart rate of long stops",
    # kept
    "known": "known from an earlier upload",
    "partly_walked": "walked in part",
    "sport_inferred": "the file names no sport; taken for a run by its name, its speed and steps, or what you said",
}


def sentence(code: str, message: str, *, minimum: float) -> str:
    """A reason for many workouts at once; `message` is that of one, `minimum` the readings a minute that are needed."""
    return SENTENCES[code].format(minimum=minimum) if code in SENTENCES else message
