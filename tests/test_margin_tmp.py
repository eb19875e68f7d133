from dataclasses import replace
def test_m(trained4, corpus4, split4):
    from synthlab.learning.evaluation import evaluate_run
    s=replace(split4, tests={"a":corpus4.class_id[:60],"b":corpus4.class_id[60:200]})
    for k in (dict(),dict(num_samples=20,temperature=1.2),dict(num_samples=20,temperature=.8)):
        t=evaluate_run(trained4, corpus4, s,**k)
        print(k,t.groupby('part')[['solved','submitted','num_correct']].sum())
