"""Public limits of the boundary. Everything here is a property of the system, never of the video."""

MAX_STRING_BYTES = 256
"""Longest STRING value, in bytes of UTF-8; a longer one becomes the column's default (privacy-model.md, section 4)."""

NUMBER_BITS = 20
"""NUMBER values are multiples of 2**-NUMBER_BITS from the moment a row is accepted (privacy-model.md, section 4)."""

NUMBER_MAGNITUDE = 2**42
"""NUMBER values are smaller than this in magnitude; others become the column's default."""

MAX_NUMBER_CHARACTERS = 64
"""Longest number literal that is looked at; longer ones (a 20,000-digit integer) become the column's default."""

MAX_NAME_BYTES = 128
"""Longest column name, in bytes of UTF-8."""

MAX_COLUMNS = 64
"""Most columns of one PROCESS."""

MAX_ROWS = 10_000
"""Most rows that one slot may produce."""

MAX_OUTPUT_BYTES = 64 * 2**20
"""Hard ceiling of one slot's output, whatever its schema allows."""

MAX_SOURCE_BYTES = 4 * 2**20
"""Largest file of code: a Python file, or a program."""

MAX_MANIFEST_BYTES = 64 * 2**10
"""Largest manifest of a bundle."""

MAX_BUNDLE_FILES = 256
"""Most files of a bundle."""

MAX_BUNDLE_BYTES = 512 * 2**20
"""Largest bundle, unpacked. Servers allow less (PRIVID_MAX_UPLOAD_BYTES)."""

MAX_SLOT_FRAMES_BYTES = 2 * 2**30
"""Largest frames buffer of one slot."""

GUEST_THREADS = 64
"""Most threads of a guest, its first one included."""

GUEST_OPEN_FILES = 64
"""Most file descriptors of a guest."""

GUEST_STACK_BYTES = 8 * 2**20
"""Largest stack of a guest's first thread."""

DEFAULT_MEMORY_BYTES = 512 * 2**20
"""Memory that a guest may allocate beyond what the zygote has loaded, if its executable asks for nothing else."""
