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
    "metrics zero.npy",
    "metrics flip.parquet",
    "train onerow.py --out o",
    "train f16.py --out o",
    "train lastone.py --out o",
    "train intd.py --out o",
    "train good.py --out o --steps compiled",
    "metrics ok.npy f_neg.npy --resamples 0",
    "metrics ok.npy --scale const.npy",
    "metrics wide.csv",
    "train good.py --out run",  # which goes into run-2
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
    "train(experiment(epochs=2), None)",  # into a temporary folder
}
