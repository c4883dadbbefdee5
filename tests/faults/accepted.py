"""What looks wrong and is rightly accepted."""

ACCEPTED_COMMAND_LINES = {
    "train args.py --out o --set s=" + 100_000 * "x",
    "train args.py --set i=99999999999999999999999999 --out o",
    "train args.py --set f=1e999 --out o",
    "train args.py --set f=nan --out o",
    "evaluate run --only mig",
    "metrics one.npy",
    "metrics const.npy",
    "metrics f16.npy",
    "metrics huge.npy",
    "metrics zero.npy",
    "metrics flip.parquet",
}
ACCEPTED_CALLS = {
    "AggregateELBO(divergence=None, alpha=1)",
    "networks.MLPEncoder(2, 2, hidden=())",
    "metrics.disentanglement(np.zeros((2, 2)))",
    "metrics.wasserstein_dependence(np.random.randn(50, 1))",
    "data.as_tensor('bomb.npz')",
    "data.as_tensor('wide.csv')",
    "data.pinwheel(seed=-1)",
    "compare('run')",
}
