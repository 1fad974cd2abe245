import pytest


@pytest.fixture(scope="session")
def keras(tmp_path_factory):
    """Keras on torch; it reads the environment once, and writes a file, when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        module = pytest.importorskip("keras", reason="the peer is not installed")
    assert module.backend.backend() == "torch", "keras was imported before with another backend"
    return module
